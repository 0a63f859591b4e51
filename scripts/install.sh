#!/usr/bin/env bash
# Brings what a bare Debian machine with Rust lacks: PostgreSQL's server, a headless JRE and Maven for Kafka, a C
# compiler and a linker for the build, small tools. Looks first, so it takes no time and no right where all is there.
#   install.sh             what `make demo` needs
#   install.sh cargo-deny  the checker of `make test`, built from its crate (some minutes, once a machine)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CARGO_DENY_VERSION=0.20.2

has() { command -v "$1" >/dev/null 2>&1; }
has_server() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { has pg_config && [ -x "$(pg_config --bindir)/initdb" ]; }; }

# The Debian packages that are missing, one a line.
missing() {
  has_server && has psql || echo postgresql
  has java || echo default-jre-headless
  has mvn || echo maven
  has gcc || echo gcc
  has g++ || echo g++
  has make || echo make
  has mold || echo mold
  has pkg-config || echo pkg-config
  has curl || echo curl
  has jq || echo jq
  has git || echo git
  has pgrep || echo procps
  has flock && has setpriv && has setsid || echo util-linux
  [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

as_root() {
  if is_root; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    die "this needs root or sudo: $*"
  fi
}

install_packages() {
  local packages=("$@") began=$EPOCHREALTIME log
  has apt-get || die "missing here: ${packages[*]}. Only Debian's packages are installed by this script"
  make_state
  log=$LOG/apt.log
  say "install    ${packages[*]} (from Debian's packages, log in $log)"
  if [[ " ${packages[*]} " == *" postgresql "* ]]; then
    # Daybook starts clusters of its own; Debian's default one is not made, so nothing listens on port 5432.
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' |
      as_root tee /etc/postgresql-common/createcluster.d/daybook.conf >/dev/null
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update -q >"$log" 2>&1 ||
    say "install    apt-get update had errors; going on with the lists that are there"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y \
    --no-install-recommends "${packages[@]}" >>"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    die "apt-get cannot install ${packages[*]}"
  }
  say "install    done ($(seconds_since "$began"))"
}

install_cargo_deny() {
  local began=$EPOCHREALTIME
  make_state
  if has cargo-deny; then return; fi
  say "install    cargo-deny $CARGO_DENY_VERSION (built once, some minutes; log in $LOG/cargo-deny.log)"
  # It runs for a second: compiling it faster is worth more than its speed. A folder of its own as the target, so
  # that the project's is neither locked nor filled.
  (cd / && CARGO_TARGET_DIR=$STATE/cargo-deny CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false RUSTFLAGS='-C link-arg=-fuse-ld=mold' \
    cargo install --locked --version "$CARGO_DENY_VERSION" cargo-deny) >"$LOG/cargo-deny.log" 2>&1 || return 1
  rm -rf "$STATE/cargo-deny"
  say "install    cargo-deny done ($(seconds_since "$began"))"
}

case ${1:-} in
  cargo-deny) install_cargo_deny ;;
  '')
    mapfile -t packages < <(missing)
    if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}"; fi
    has cargo || die "there is no cargo here: install Rust (https://rustup.rs)"
    # The servers refuse to run as root, so root runs them as a user of their own, without login and home.
    if is_root && ! id -u "$SERVER_USER" >/dev/null 2>&1; then
      useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$SERVER_USER"
    fi
    ;;
  *) die "usage: install.sh [cargo-deny]" ;;
esac
