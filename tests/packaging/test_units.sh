#!/bin/bash
# The examples for systemd are units that systemd takes.   timeout: 60
cd "$TMPDIR" || exit 1
if ! command -v systemd-analyze > /dev/null; then echo "there is no systemd-analyze"; exit 77; fi
bad=0
for unit in "$TEST_ROOT"/packaging/systemd/*; do
    name=$(basename "$unit")
    # What they start is not installed here, nor are the manual pages.
    sed -e 's|^ExecStart=/[^ ]*|ExecStart=/bin/true|' -e '/^Documentation=/d' "$unit" > "$name"
    grep -q '^ExecStart=\|^\[Timer\]' "$name" || { echo "FAIL $name starts nothing"; bad=1; }
done
for name in *.service *.timer; do
    if systemd-analyze verify "$PWD/$name" > said 2>&1 && [ ! -s said ]; then
        echo "ok systemd_takes_$name"
    else
        echo "FAIL systemd_takes_$name: $(head -c 300 said | tr '\n' ' ')"
        bad=1
    fi
done
exit $bad
