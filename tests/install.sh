#!/bin/sh
# install.sh BUILD - installs a build into a folder of its own and uses what is there as somebody else would: a CMake project
# and pkg-config, C and C++, shared and static; symbols, man pages and completions; the Debian package.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/moved
fail() { echo "FAIL: $*"; exit 1; }
has() { [ -e "$root/$1" ] || fail "$1 was not installed"; }

cmake --install "$build" --prefix "$tmp/first" > /dev/null
mv "$tmp/first" "$root"   # nothing that is installed may know where it was
lib=$(cd "$root" && dirname "$(find . -name liblrqk.a)")
lib=${lib#./}
for f in bin/lrqk "$lib/liblrqk.so" "$lib/liblrqk.so.0" include/lrqk/lrqk.h include/lrqk/chat.h include/lrqk/plan.h include/lrqk/profile.h \
  "$lib/pkgconfig/lrqk.pc" "$lib/cmake/lrqk/lrqk-config.cmake" \
  share/man/man1/lrqk.1 share/man/man1/lrqk-run.1 share/bash-completion/completions/lrqk share/zsh/site-functions/_lrqk \
  share/fish/vendor_completions.d/lrqk.fish share/doc/lrqk/LICENSE share/doc/lrqk/CHANGELOG.md; do has "$f"; done

# ---- symbols: every function of the headers, with its version, and nothing else
nm -D --defined-only "$root/$lib/liblrqk.so" | awk '{print $3}' | grep -v '^LRQK_' | sort > "$tmp/shown"
grep -v '@@LRQK_0\.1$' "$tmp/shown" && fail "symbols without a version"
sed 's/@@.*//' "$tmp/shown" > "$tmp/names"
grep -ho '\blrqk_[a-z0-9_]*(' "$root"/include/lrqk/*.h | tr -d '(' | sort -u > "$tmp/declared"
diff "$tmp/declared" "$tmp/names" || fail "the headers declare what is not shown (<), or the other way (>)"

# ---- a CMake project
cmake -S "$here/install" -B "$tmp/use" -DCMAKE_PREFIX_PATH="$root" > "$tmp/log" 2>&1 || { cat "$tmp/log"; fail "configuring the consumer"; }
cmake --build "$tmp/use" > "$tmp/log" 2>&1 || { cat "$tmp/log"; fail "building the consumer"; }
for p in c_lrqk c_static cxx_lrqk cxx_static; do "$tmp/use/$p" || fail "$p ends with $?"; done
ldd "$tmp/use/c_lrqk" | grep -q liblrqk.so.0 || fail "c_lrqk does not use the shared library"
ldd "$tmp/use/c_static" | grep -q liblrqk && fail "c_static uses the shared library"

# ---- pkg-config
PKG_CONFIG_PATH=$root/$lib/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
cc "$here/install/consumer.c" -o "$tmp/pc" $(pkg-config --cflags --libs lrqk)
LD_LIBRARY_PATH=$root/$lib "$tmp/pc" || fail "the program built by pkg-config ends with $?"
[ "$(pkg-config --modversion lrqk)" = "$("$root/bin/lrqk" --version | sed 's/lrqk //')" ] || fail "pkg-config has another version than the program"

# ---- man pages and completions
for f in "$root"/share/man/man1/*.1; do
  if command -v groff > /dev/null; then
    groff -man -Tutf8 -ww -P-c -P-b -P-u "$f" 2> "$tmp/log" > "$tmp/page"
    [ -s "$tmp/log" ] && { cat "$tmp/log"; fail "$f"; }
    grep -q SYNOPSIS "$tmp/page" || fail "$f has no synopsis"
  fi
done
command -v groff > /dev/null || echo "groff is not here: man pages were not rendered"
for c in $("$root/bin/lrqk" help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do has "share/man/man1/lrqk-$c.1"; done
complete() { bash -c '. "$0"; COMP_WORDS=("${@}"); COMP_CWORD=$(($# - 1)); _lrqk; echo "${COMPREPLY[@]}"' \
  "$root/share/bash-completion/completions/lrqk" "$@"; }
[ "$(complete lrqk tok)" = tokenize ] || fail "bash: tok is not completed to tokenize"
[ "$(complete lrqk run --trunc)" = --truncate ] || fail "bash: --trunc is not completed to --truncate"
[ "$(complete lrqk devices --trunc)" = "" ] || fail "bash: a flag of another command is offered"
for shell in zsh fish; do
  f=$root/share/zsh/site-functions/_lrqk
  [ $shell = fish ] && f=$root/share/fish/vendor_completions.d/lrqk.fish
  if command -v $shell > /dev/null; then $shell -n "$f" || fail "$shell does not accept $f"
  else echo "$shell is not here: its completions were not checked"; fi
done

# ---- the Debian package
if command -v dpkg-deb > /dev/null; then
  (cd "$tmp" && cpack --config "$build/CPackConfig.cmake" -G DEB -B "$tmp" > "$tmp/log" 2>&1) || { cat "$tmp/log"; fail "cpack"; }
  deb=$(find "$tmp" -maxdepth 1 -name '*.deb')
  dpkg-deb -c "$deb" > "$tmp/list"
  for f in ./usr/bin/lrqk ./usr/include/lrqk/lrqk.h ./usr/share/man/man1/lrqk.1; do grep -q " $f$" "$tmp/list" || fail "$f is not in the package"; done
  dpkg-deb -f "$deb" Depends | grep -q libpcre2 || fail "the package does not depend on libpcre2"
else
  echo "dpkg-deb is not here: the package was not made"
fi
echo "install: everything in its place"
