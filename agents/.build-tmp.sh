#!/usr/bin/env bash
# Rebuilds every agent into built/<name>.wasm. Takes no arguments.
#
# The rustup toolchain has no WebAssembly target unless it is downloaded, so
# the compiler and the sources of the standard library come from Debian, and
# only the linkers from the ordinary toolchain. The result depends on the
# sources, the lock file and the versions printed at the end, not on the
# machine or the folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

debian=/tmp/rounds-deb/root/usr/bin
for tool in rustc cargo rustdoc; do
  if [[ ! -x $debian/$tool ]]; then
    echo "build.sh: $debian/$tool is missing; on Debian:" >&2
    echo "  apt-get install --no-install-recommends rustc-web cargo-web rust-web-src" >&2
    exit 1
  fi
done
sources=$("$debian/rustc" --print sysroot)/lib/rustlib/src/rust
if [[ ! -f $sources/library/Cargo.lock ]]; then
  echo "build.sh: the sources of the standard library are not at $sources; on Debian:" >&2
  echo "  apt-get install --no-install-recommends rust-web-src" >&2
  exit 1
fi

# The ordinary rustc is the one in PATH; its toolchain brings the linkers.
sysroot=$(rustc --print sysroot)
host=$(rustc -vV | sed -n 's/^host: //p')
linkers=$sysroot/lib/rustlib/$host/bin
for tool in rust-lld wasm-component-ld; do
  if [[ ! -x $linkers/$tool ]]; then
    echo "build.sh: $linkers/$tool is missing; install a toolchain from https://rustup.rs" >&2
    exit 1
  fi
done

export PATH=$linkers:$linkers/gcc-ld:$PATH
export RUSTC=$debian/rustc RUSTDOC=$debian/rustdoc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=$PWD/target
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-component-ld
unset RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
target=wasm32-unknown-unknown
std=-Zbuild-std=std,panic_abort

# The folder of the crates' sources is only there, with its name, once one of
# them has been fetched.
"$debian/cargo" fetch --quiet --locked $std --target $target

# Panic messages hold the names of source files: make them the same everywhere.
# The last matching prefix wins, so the general ones come first.
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
remap=(
  "--remap-path-prefix=$sources=/rust"
  "--remap-path-prefix=$(realpath "$sources")=/rust"
  "--remap-path-prefix=$PWD=/agents"
)
for index in "$registry"/*/; do
  remap+=("--remap-path-prefix=${index%/}=/crates")
done
flags=(
  "${remap[@]}"
  # An agent needs little stack beside the one of WebAssembly itself, and every
  # instance of every agent pays for it.
  -Clink-arg=-zstack-size=131072
  # Nothing may stand in for WASI: an agent that asks for it must show it. With
  # an adapter, even the version that an agent asks for would be replaced.
  -Clink-arg=--wasi-adapter=none
)
# One string with separators, so that a path may hold spaces.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

"$debian/cargo" build --release --locked $std --target $target \
  --workspace --exclude lockstep-agent

mkdir -p built
for manifest in */Cargo.toml; do
  name=$(dirname "$manifest")
  [[ $name == sdk ]] && continue
  wasm=target/$target/release/$name.wasm
  # A path of this machine in a component is a bug of this script.
  if grep -aqF -e "$PWD" -e "$registry" -e "$(realpath "$sources")" -e "$HOME/" "$wasm"; then
    echo "build.sh: $wasm contains a path of this machine" >&2
    exit 1
  fi
  install -m 644 "$wasm" "built/$name.wasm"
  printf '%8d  built/%s.wasm\n' "$(stat -c %s "built/$name.wasm")" "$name"
done
"$debian/rustc" --version
"$linkers/wasm-component-ld" --version
