#!/bin/sh
# Runs the unit ring on the Python of Debian 13 (3.13), in a chroot that debootstrap makes once. What it needs:
# root (or sudo without a password), apt-get, and the right to mount /proc in a mount namespace of its own.
set -eu
cd "$(dirname "$0")/../.."

folder=${APPBUILDER_PY313:-/var/cache/appbuilder-py313}
cannot() {
    echo "make py313 cannot run here: $1" >&2
    exit 1
}

if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || cannot "it needs root, or sudo without a password"
    exec sudo -n APPBUILDER_PY313="$folder" "$0" "$@"
fi
command -v apt-get >/dev/null || cannot "it needs apt-get, for debootstrap"
command -v unshare >/dev/null || cannot "it needs unshare, of util-linux"
unshare --mount true 2>/dev/null || cannot "it may not make a mount namespace (a container without CAP_SYS_ADMIN)"
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9

if [ ! -e "$folder/etc/debian_version" ]; then
    if ! command -v debootstrap >/dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends debootstrap debian-archive-keyring
    fi
    # The mirror this machine uses; empty on one that is not Debian: debootstrap's own.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
    rm -rf "$folder.part"
    # shellcheck disable=SC2086
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,libgomp1 \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie "$folder.part" $mirror >"$folder.log" ||
        { tail -n 5 "$folder.log" >&2; cannot "debootstrap failed, see $folder.log"; }
    mv "$folder.part" "$folder"
fi

# Names and certificates as this machine has them, and the checkout as it is.
cp /etc/resolv.conf /etc/hosts "$folder/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
rm -rf "$folder/checkout"
mkdir "$folder/checkout"
tar -c --exclude=./.venv --exclude=./.venv-sdk --exclude=./.git --exclude=./.demo --exclude=./.bench --exclude=./.site \
    --exclude=./.mypy_cache --exclude=./.hypothesis --exclude=__pycache__ . | tar -x -C "$folder/checkout"
needed=$(cat pyproject.toml constraints.txt | sha256sum)

export folder needed
unshare --mount sh -eu <<'APART'
mount -t proc proc "$folder/proc"
mount --bind /dev "$folder/dev"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 NEEDED="$needed" \
    PIP_INDEX_URL="${PIP_INDEX_URL:-}" HTTPS_PROXY="${HTTPS_PROXY:-}" HTTP_PROXY="${HTTP_PROXY:-}" \
    chroot "$folder" sh -eu <<'INSIDE'
cd /checkout
[ -n "$PIP_INDEX_URL" ] || unset PIP_INDEX_URL
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1
if [ "$(cat /opt/venv/.ready 2>/dev/null)" != "$NEEDED" ]; then
    rm -rf /opt/venv
    python3 -m venv /opt/venv
    /opt/venv/bin/pip install -q --progress-bar off -c constraints.txt -e '.[dev]'
    echo "$NEEDED" >/opt/venv/.ready
fi
/opt/venv/bin/python --version
exec /opt/venv/bin/python -m pytest -q -n 2 --dist loadfile -p no:cacheprovider tests/unit
INSIDE
APART
