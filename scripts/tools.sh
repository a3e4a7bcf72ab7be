# What the scripts share: how a step is told, and how the tools that tests need come here. Sourced, not run.

note() { printf '\n-- %s\n' "$*"; }

step() {
    local name=$1
    shift
    note "$name: $*"
    "$@"
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# debian COMMAND PACKAGE: has the command, from Debian's package where this machine allows it.
debian() {
    command -v "$1" >/dev/null && return
    if ! can_install; then
        echo "the tests need $1; install it, as with: sudo apt-get install $2" >&2
        exit 1
    fi
    note "installing $2"
    if ! apt-get install -y -qq "$2" >/dev/null 2>&1; then
        apt-get update -qq
        apt-get install -y -qq "$2" >/dev/null
    fi
}

# unpacked COMMAND PACKAGE: prints where the command is; a Debian package is only unpacked under target/, never
# installed, so that no service of it begins to run. Prints nothing where it cannot be had.
unpacked() {
    local found directory=$PWD/target/$2
    found=$(command -v "$1" || ls "$directory/usr/bin/$1" 2>/dev/null || true)
    if [ -z "$found" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
        mkdir -p "$directory"
        (cd "$directory" && { apt-get download -qq "$2" || { can_install && apt-get update -qq && apt-get download -qq "$2"; }; } &&
            dpkg -x "$2"_*.deb .) >/dev/null 2>&1 || true
        found=$(ls "$directory/usr/bin/$1" 2>/dev/null || true)
    fi
    printf '%s' "$found"
}

# aws2: prints where version 2 of the aws command is, which PyPI does not have; Debian's is unpacked with what it needs of
# Python under target/, where the system's Python is the one it was made for. Prints nothing where it cannot be had.
aws2() {
    local found package root=$PWD/target/aws2
    found=$(command -v aws || true)
    if [ -n "$found" ] && "$found" --version 2>&1 | grep -q '^aws-cli/2'; then
        printf '%s' "$found"
        return
    fi
    if [ ! -x "$root/aws" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
        mkdir -p "$root"
        for package in awscli python3-awscrt python3-cffi-backend python3-colorama python3-cryptography python3-dateutil \
            python3-distro python3-docutils python3-jmespath python3-prompt-toolkit python3-roman python3-ruamel.yaml \
            python3-ruamel.yaml.clib python3-six python3-urllib3 python3-wcwidth; do
            (cd "$root" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb .) >/dev/null 2>&1 || true
        done
        printf '#!/bin/sh\nPYTHONPATH=%s exec /usr/bin/python3 %s "$@"\n' "$root/usr/lib/python3/dist-packages" \
            "$root/usr/bin/aws" >"$root/aws"
        chmod +x "$root/aws"
    fi
    if [ -x "$root/aws" ] && "$root/aws" --version 2>/dev/null | grep -q '^aws-cli/2'; then
        printf '%s' "$root/aws"
    fi
}

# of_system NAME REQUIREMENTS: prints the directory of programs of a venv under target/, made with Debian's own Python.
# Prints nothing where it cannot be had.
of_system() {
    local venv=$PWD/target/$1 wanted=$PWD/scripts/$2 system
    system=$(readlink -f /usr/bin/python3 2>/dev/null || true)
    [ -x "$system" ] || return 0
    if ! cmp -s "$wanted" "$venv/installed"; then
        rm -rf "$venv"
        # Readable by the users that functions run as.
        (umask 022 && "$system" -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted") >&2 ||
            return 0
        cp "$wanted" "$venv/installed"
    fi
    printf '%s' "$venv/bin"
}

# ric: prints a python3.N that runs functions through AWS's runtime interface client; Debian's own, because functions run
# as users who may not look into anybody's home. Prints nothing where it cannot be had.
ric() {
    local programs system
    programs=$(of_system ric requirements-functions.txt)
    system=$(readlink -f /usr/bin/python3 2>/dev/null || true)
    [ -z "$programs" ] || printf '%s' "$programs/${system##*/}"
}

# node_modules: prints where the AWS SDK for JavaScript is, installed under target/ as its lock file says. Prints nothing
# where there is no Node.js that it runs on, or no npm.
node_modules() {
    local from=tests/lambda/sdks/javascript into=$PWD/target/javascript
    { command -v npm && node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; } >/dev/null 2>&1 || return 0
    if ! cmp -s $from/package-lock.json "$into/installed"; then
        rm -rf "$into"
        mkdir -p "$into"
        cp $from/package.json $from/package-lock.json "$into"
        (cd "$into" && npm ci --silent --no-audit --no-fund --ignore-scripts) >&2 || return 0
        cp $from/package-lock.json "$into/installed"
    fi
    printf '%s' "$into/node_modules"
}

# clients: the real clients that users have, in a venv under target/.
clients() {
    local venv=target/venv
    if ! cmp -s scripts/requirements.txt $venv/installed; then
        note "installing the clients of scripts/requirements.txt into $venv"
        if ! python3 -m venv $venv 2>/dev/null; then
            rm -rf $venv
            debian virtualenv virtualenv
            virtualenv -q $venv
        fi
        $venv/bin/pip install -q --disable-pip-version-check -r scripts/requirements.txt
        cp scripts/requirements.txt $venv/installed
    fi
    export SERIN_TEST_AWS=$PWD/$venv/bin/aws
    export SERIN_TEST_PYTHON=$PWD/$venv/bin/python
}
