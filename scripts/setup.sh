# Sourced by the scripts beside it. `set_up EXTRAS` makes .venv hold the project with these extras (comma-separated),
# at the versions of constraints.txt, and does nothing where it already does. Messages go to stderr.
#
# .venv/improve-stamp      written last: hash of what was installed, then the extras; its absence means "not done"
# .venv/improve-unfinished there while packages are being written: if it is found, that set-up was cut off
# .uv/                     uv, fetched with pip where the machine has none

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/improve-stamp
unfinished=$venv/improve-unfinished

say() { printf 'improve: %s\n' "$*" >&2; }

stop() {
  say "$*"
  exit 1
}

# What an installation depends on. The path counts: a virtual environment does not survive being moved.
fingerprint() { { printf '%s\n' "$root" && cat "$root/pyproject.toml" "$root/constraints.txt"; } | sha256sum; }

# Whether .venv is up to date and has every extra of $1.
is_set_up() {
  local extra hash installed
  [[ -x $venv/bin/python && -f $stamp ]] || return 1
  { read -r hash && read -r installed; } <"$stamp" || return 1
  [[ $hash == "$(fingerprint)" ]] || return 1
  for extra in ${1//,/ }; do
    [[ ,$installed, == *,$extra,* ]] || return 1
  done
}

is_recent_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# Sets $python to an interpreter of 3.10 or newer.
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 python3.10 python3.14 python; do
    python=$(command -v "$name") && is_recent_python "$python" && return
  done
  if command -v uv >/dev/null && python=$(uv python find --no-python-downloads '>=3.10' 2>/dev/null); then
    return
  fi
  stop "Python 3.10 or newer is needed and none was found: install one (for instance apt-get install python3," \
    "or uv python install 3.12), then run this again."
}

# Sets $uv: the machine's own, or the one in .uv, fetched if need be.
find_uv() {
  for uv in "$(command -v uv || true)" "$root/.uv/bin/uv"; do
    [[ -n $uv ]] && "$uv" --version >/dev/null 2>&1 && return
  done
  local began=$SECONDS
  say "fetching uv, the installer, into .uv …"
  rm -rf "$root/.uv"
  if "$python" -m pip --version >/dev/null 2>&1; then
    PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --target "$root/.uv" uv ||
      stop "pip could not fetch uv (see above): check the network, then run this again."
  elif "$python" -m venv "$root/.uv" >/dev/null 2>&1; then
    "$root/.uv/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
      stop "pip could not fetch uv (see above): check the network, then run this again."
  else
    rm -rf "$root/.uv"
    stop "$python has no pip: install it (for instance apt-get install python3-pip) or uv, then run this again."
  fi
  say "fetched uv in $((SECONDS - began)) s"
}

# An existing .venv is kept if it can be relied on.
make_venv() {
  [[ ! -e $unfinished ]] && is_recent_python "$venv/bin/python" && return
  [[ ! -e $unfinished ]] || say "an earlier set-up was cut off: starting again"
  rm -rf "$venv"
  say "making .venv with $("$python" --version 2>&1) …"
  "$uv" venv --quiet --python "$python" "$venv" || stop "uv could not make .venv (see above)."
}

install_project() {
  local began=$SECONDS extras=$1 hash installed quiet=() patience="; this takes minutes and about 6 GB"
  if [[ -f $stamp ]] && { read -r hash && read -r installed; } <"$stamp"; then
    extras=$(printf '%s\n' ${extras//,/ } ${installed//,/ } | sort -u | paste -sd,)
    patience=
  fi
  [[ -t 2 ]] || quiet=(--quiet)
  hash=$(fingerprint)
  : >"$unfinished"
  rm -f "$stamp"
  say "installing the project and its packages [$extras]$patience …"
  "$uv" pip install ${quiet[@]+"${quiet[@]}"} --python "$venv/bin/python" --compile-bytecode \
    --constraints "$root/constraints.txt" --editable "$root[$extras]" ||
    stop "the packages could not be installed (see above): mend that, then run this again."
  printf '%s\n%s\n' "$hash" "$extras" >"$stamp.part"
  mv "$stamp.part" "$stamp"
  rm -f "$unfinished"
  say "installed in $((SECONDS - began)) s"
}

# One set-up at a time: the second to come waits and then finds it done. The lock is held by a subshell alone,
# so that a long run started afterwards does not keep it.
set_up() {
  is_set_up "$1" && return
  (
    if command -v flock >/dev/null && ! flock --nonblock 9; then
      say "waiting for another set-up of this folder …"
      flock 9
    fi
    is_set_up "$1" && exit
    find_python
    find_uv
    make_venv
    install_project "$1"
  ) 9<"${BASH_SOURCE[0]}"
}
