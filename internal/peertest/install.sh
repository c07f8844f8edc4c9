#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the integration tests start: a RabbitMQ broker, a Redis, an Apache
# Qpid Broker-J and an Apache ActiveMQ Artemis from Maven's central repository, and four
# Python oslo.messaging releases (Debian's own, a pinned one in a virtual
# environment in the cache, and beside that the last ones with a zmq and with an
# amqp driver). Runs again cheaply: it does nothing and says nothing when
# everything is there.
#
# Environment: PARLEY_CACHE  where jars and Python packages go
#                            (default ${XDG_CACHE_HOME:-$HOME/.cache}/parley)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
release=18.3.1
venv=$cache/python/oslo.messaging-$release
requirements=$here/python/requirements-$release.txt
old=$cache/python/oslo.messaging-8.1.4
old_requirements=$here/python/requirements-8.1.4.txt
amqp=$cache/python/oslo.messaging-14.9.3
amqp_requirements=$here/python/requirements-14.9.3.txt
brokerj=$cache/java/brokerj-10.1.0
artemis=$cache/java/artemis-2.42.0
copy_jars=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
policy=/usr/sbin/policy-rc.d

say() { printf 'peertest: %s\n' "$*"; }
die() { printf 'peertest: %s\n' "$*" >&2; exit 1; }

installed() {
	dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'
}

missing_packages() {
	for package in rabbitmq-server redis-server python3-oslo.messaging python3-venv; do
		installed "$package" || printf '%s ' "$package"
	done
	# What is asked for is the program: which package it comes from differs.
	command -v mvn >/dev/null || printf 'maven '
	command -v java >/dev/null || printf 'default-jre-headless '
	# The amqp driver's engine is built from its source.
	if ! cmp -s "$amqp_requirements" "$amqp/installed.txt"; then
		for package in gcc g++ python3-dev libssl-dev pkg-config; do
			installed "$package" || printf '%s ' "$package"
		done
	fi
}

# A broker that a test starts is the test's own. The one that the package would
# start as a system service takes the standard port and leaves an epmd on every
# interface, so service starts are refused while the package is set up.
refuse_services() {
	# A run that was killed left its own policy here and the old one set aside.
	if [ -e "$policy" ] && [ ! -e "$policy.peertest" ]; then
		$root mv "$policy" "$policy.peertest"
	fi
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod 755 "$policy"
}

allow_services() {
	$root rm -f "$policy"
	if [ -e "$policy.peertest" ]; then
		$root mv "$policy.peertest" "$policy"
	fi
}

apt_install() {
	$root env DEBIAN_FRONTEND=noninteractive apt-get \
		-o DPkg::Lock::Timeout=300 -q -y --no-install-recommends install "$@"
}

install_packages() {
	command -v apt-get >/dev/null ||
		die "no apt-get here: install by other means: $*"
	root=
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null ||
			die "not root and no sudo: as root run 'apt-get install $*'"
		root=sudo
	fi
	log=$cache/install-packages.log
	say "installing Debian packages: $*"
	trap allow_services EXIT
	trap 'exit 130' INT TERM HUP
	refuse_services
	if ! apt_install "$@" >"$log" 2>&1; then
		say "the package lists look stale, running apt-get update"
		$root apt-get -o DPkg::Lock::Timeout=300 -q update >"$log" 2>&1 ||
			die "apt-get update failed, see $log"
		apt_install "$@" >"$log" 2>&1 ||
			die "apt-get install $* failed, see $log"
	fi
	allow_services
	trap - EXIT INT TERM HUP
}

# The environment is built in place, because its scripts hold its own path; the
# stamp is written last, so one that was cut short is built anew.
build_venv() {
	say "creating the Python environment for oslo.messaging $release in $venv"
	rm -rf "$venv"
	mkdir -p "$(dirname "$venv")"
	log=$cache/install-python.log
	/usr/bin/python3 -m venv "$venv" >"$log" 2>&1 ||
		die "python3 -m venv failed, see $log"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-deps -r "$requirements" >>"$log" 2>&1 ||
		die "pip install failed, see $log"
	cp "$requirements" "$venv/installed.txt"
}

# A directory for PYTHONPATH, in front of the newest release's packages.
build_old() {
	say "fetching oslo.messaging 8.1.4, for its zmq driver, to $old"
	rm -rf "$old"
	log=$cache/install-python-old.log
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-deps --target "$old" -r "$old_requirements" >"$log" 2>&1 ||
		die "pip install failed, see $log"
	cp "$old_requirements" "$old/installed.txt"
}

# The same for the last release with an amqp driver. Its engine is compiled, which
# takes half a minute; pip keeps the result for the next time.
build_amqp() {
	say "building oslo.messaging 14.9.3, for its amqp driver, in $amqp"
	rm -rf "$amqp"
	log=$cache/install-python-amqp.log
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-deps --target "$amqp" -r "$amqp_requirements" >"$log" 2>&1 ||
		die "pip install failed, see $log"
	cp "$amqp_requirements" "$amqp/installed.txt"
}

# What Maven has already is not asked for again.
fetch_jars() {
	say "fetching the jars of $1 to $2"
	rm -rf "$2"
	mkdir -p "$2"
	log=$cache/install-java.log
	set -- "$1" "$2" -q -B -f "$here/java/$1.xml" "$copy_jars" \
		-DincludeScope=runtime "-DoutputDirectory=$2"
	name=$1
	dir=$2
	shift 2
	mvn -o "$@" >"$log" 2>&1 || mvn "$@" >"$log" 2>&1 ||
		die "mvn failed, see $log"
	cp "$here/java/$name.xml" "$dir/installed.xml"
}

mkdir -p "$cache"
exec 9>"$cache/install.lock"
flock -w 900 9 || die "another installation holds $cache/install.lock for 15 minutes"

packages=$(missing_packages)
if [ -n "$packages" ]; then
	# The list is one word per package on purpose.
	# shellcheck disable=SC2086
	install_packages $packages 9>&-
fi
cmp -s "$requirements" "$venv/installed.txt" || build_venv
cmp -s "$old_requirements" "$old/installed.txt" || build_old
cmp -s "$amqp_requirements" "$amqp/installed.txt" || build_amqp
cmp -s "$here/java/brokerj.xml" "$brokerj/installed.xml" || fetch_jars brokerj "$brokerj"
cmp -s "$here/java/artemis.xml" "$artemis/installed.xml" || fetch_jars artemis "$artemis"
