#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the integration tests start: a RabbitMQ broker, a Redis and three
# Python oslo.messaging releases (Debian's own, a pinned one in a virtual
# environment in the cache, and beside that the last one with a zmq driver). Runs
# again cheaply: it does nothing and says nothing when everything is there.
#
# Environment: PARLEY_CACHE  where the virtual environment goes
#                            (default ${XDG_CACHE_HOME:-$HOME/.cache}/parley)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
release=18.3.1
venv=$cache/python/oslo.messaging-$release
requirements=$here/python/requirements-$release.txt
old=$cache/python/oslo.messaging-8.1.4
old_requirements=$here/python/requirements-8.1.4.txt
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
