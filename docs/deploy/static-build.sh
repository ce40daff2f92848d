#!/bin/sh
# Builds a static binary, the same one wherever these sources and this toolchain are, and prints where it is.
#
#   docs/deploy/static-build.sh TARGET_DIR [OPTIONS FOR cargo build]
set -eu
target_dir=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
case $target_dir in /*) ;; *) target_dir=$PWD/$target_dir ;; esac
cd "$root"
version=$(rustc -vV)
triple=$(printf '%s\n' "$version" | sed -n 's/^host: //p')
commit=$(printf '%s\n' "$version" | sed -n 's/^commit-hash: //p')

flags="-Ctarget-feature=+crt-static"
flag() { flags=$flags$(printf '\037')$1; }
# A static binary cannot look for getrandom() in the C library at run time, and would need /dev/urandom.
flag '--cfg=getrandom_backend="linux_getrandom"'
# Messages of panics have the paths of sources in them.
remap() { flag "--remap-path-prefix=$1=$2"; }
remap "$(rustc --print sysroot)/lib/rustlib/src/rust" "/rustc/$commit"
# The last one that matches decides, and any of these folders may be in another.
remap "$root" /weekvault
remap "$target_dir" /target
remap "${CARGO_HOME:-$HOME/.cargo}" /cargo
unset RUSTFLAGS
export CARGO_ENCODED_RUSTFLAGS="$flags" CARGO_INCREMENTAL=0

# An explicit --target keeps these flags away from build scripts and procedural macros, which cannot be static.
cargo build --locked --bin weekvault --target "$triple" --target-dir "$target_dir" "$@" >&2
case " $* " in *" --release "*) profile=release ;; *) profile=debug ;; esac
printf '%s\n' "$target_dir/$triple/$profile/weekvault"
