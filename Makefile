# SPDX-License-Identifier: Apache-2.0
#
# Two commands do everything on a fresh machine: "make demo" and "make test".
# The tools are pinned in modules of their own under tools/ and built into bin/tools.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

DRIVERS  := fake rabbit zmq qpid
BIN      := bin
TOOLS    := $(BIN)/tools
LOCK     := $(BIN)/parley.lock
FUZZTIME ?= 5s
CHAOS_TIME ?= 10m
NOTIFY_COUNT ?= 200000
QPID_TIME ?= 5m
PKGS     ?= ./...
GO       ?= go
GOFLAGS  += -trimpath
export GOFLAGS

.PHONY: help build demo test unit fuzz lint layout proto proto-check bench bench-zmq bench-qpid bench-peers bench-notify cost chaos notify-ledger qpid-ledger clean peers

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the command and the drivers, into bin/ and bin/drivers/
	@mkdir -p $(BIN)/drivers
	@rm -f $(LOCK)
	$(GO) build -o $(BIN)/parley ./cmd/parley
	@for d in $(DRIVERS); do \
		echo "$(GO) build -o $(BIN)/drivers/parley-driver-$$d ./plugins/$$d"; \
		$(GO) build -o $(BIN)/drivers/parley-driver-$$d ./plugins/$$d; \
		$(BIN)/drivers/parley-driver-$$d describe >$(BIN)/drivers/parley-driver-$$d.json; \
	done

demo: build ## two servers and a client with no broker; a server and a driver are killed
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./examples/demo -driver-path $(CURDIR)/$(BIN)/drivers

test: ## everything CI runs; installs and starts what it needs
	@scripts/test.sh

peers: ## install the brokers and Python peers that tests start
	internal/peertest/install.sh

unit: ## tests with the race detector, peers must be installed
	PARLEY_TEST_PROGRAMS=$(CURDIR)/$(BIN)/testprograms $(GO) test -race -timeout 15m $(PKGS)

fuzz: ## each fuzz target for FUZZTIME (default 5s)
	@scripts/fuzz.sh $(FUZZTIME)

lint: $(TOOLS)/golangci-lint ## gofmt, vet and golangci-lint
	$(TOOLS)/golangci-lint run --allow-serial-runners ./...

layout: ## who may import whom
	$(GO) test ./internal/layout

proto: $(TOOLS)/buf ## generate plugin/proto from driver.proto
	cd plugin/proto && PATH="$(CURDIR)/$(TOOLS):$$PATH" buf lint && PATH="$(CURDIR)/$(TOOLS):$$PATH" buf generate

proto-check: $(TOOLS)/buf ## prove that the committed code is what driver.proto gives
	@scripts/proto-check.sh $(CURDIR)/$(TOOLS)

bench: build peers ## Parley against hand-written Go and Python, on a private RabbitMQ
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./internal/bench/cmd/bench -bin $(CURDIR)/$(BIN)

bench-zmq: build peers ## Parley over zmq against hand-written zmq4 and pyzmq; no broker
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./internal/bench/cmd/bench -wire zmq -casts 1,16 -bin $(CURDIR)/$(BIN)

bench-qpid: build peers ## Parley over qpid against hand-written go-amqp and Python 14.9.3, on a private Broker-J
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./internal/bench/cmd/bench -wire qpid -casts 16 -options reliable_casts=true -bin $(CURDIR)/$(BIN)

bench-peers: build ## 200 servers in one view of zmq against 2, and the memory of each
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./internal/bench/cmd/bench -wire zmq -peers 2,200 -in-flight 16,128 -bin $(CURDIR)/$(BIN)

bench-notify: build peers ## notifications: Parley against hand-written Go and Python, and a listener 1 M behind
	PARLEY_LOCK_FILE=$(CURDIR)/$(LOCK) $(GO) run ./internal/bench/cmd/bench -notify -in-flight 16,128 -seconds 2 -bin $(CURDIR)/$(BIN)

cost: build peers ## what a driver process costs: start, memory, listeners, waiting calls, the boundary
	$(GO) run ./internal/cost/cmd/cost -drivers $(CURDIR)/$(BIN)/drivers

chaos: peers ## kill, stop, cut, restart and swap everything at random for CHAOS_TIME (default 10m)
	@scripts/chaos.sh $(CHAOS_TIME) $(CHAOS_FLAGS)

notify-ledger: peers ## NOTIFY_COUNT numbered notifications (default 200000) while everything is killed; the broker away for a minute
	PARLEY_NOTIFYFAULTS_COUNT=$(NOTIFY_COUNT) $(GO) test -count=1 -v -timeout 60m -run 'TestLedger$$|TestSpool' ./internal/notifyfaults

qpid-ledger: peers ## callers and servers on Broker-J for QPID_TIME (default 5m) while broker, connections and drivers are killed, cut and swapped, each ten times at least
	PARLEY_QPIDFAULTS_TIME=$(QPID_TIME) $(GO) test -count=1 -v -timeout 60m -run 'TestLedger$$' ./internal/qpidfaults

clean: ## remove what was built
	rm -rf $(BIN)

$(TOOLS)/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	@mkdir -p $(TOOLS)
	@echo "building golangci-lint (once, some minutes)"
	cd tools/lint && GOFLAGS= $(GO) build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(TOOLS)/buf: tools/proto/go.mod tools/proto/go.sum
	@mkdir -p $(TOOLS)
	@echo "building buf and the protobuf generators (once, about a minute)"
	cd tools/proto && GOFLAGS= $(GO) build -o $(CURDIR)/$(TOOLS)/ tool
	@touch $@
