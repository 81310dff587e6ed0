#!/bin/sh
# Installs what the tests start, from Debian's packages: database servers, strace, and a browser with a Chinese
# font. Quick when present.
set -eu

missing=""
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 ||
    missing="$missing postgresql"
{ command -v mariadbd || ls /usr/sbin/mariadbd; } >/dev/null 2>&1 || missing="$missing mariadb-server"
{ command -v pgbouncer || ls /usr/sbin/pgbouncer; } >/dev/null 2>&1 || missing="$missing pgbouncer"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
[ -x /usr/bin/chromium ] || missing="$missing chromium"
# A file and not fc-list, which need not be there.
ls /usr/share/fonts/opentype/noto/NotoSansCJK-*.ttc >/dev/null 2>&1 || missing="$missing fonts-noto-cjk"
# Of Playwright's own program, which drives the browser.
PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libatomic\.so\.1' || missing="$missing libatomic1"
[ -n "$missing" ] || exit 0

root=""
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "The tests need these packages; install them and run again: apt-get install$missing" >&2
        exit 1
    fi
    root="sudo"
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need these programs; install them and run again:$missing" >&2
    exit 1
fi

# The tests start servers of their own: the packages need not, and in a container cannot, start any.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
    trap '$root rm -f "$policy"' EXIT
fi
$root apt-get update -q
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
