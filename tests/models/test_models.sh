#!/bin/bash
# The protocols whose interleavings matter more than their instructions, tried in all of them:
# each model holds, and each of its broken variants is found out.
cd "$(dirname "$0")" || exit 1
command -v spin >/dev/null || { echo "spin is not installed"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# explore MODEL BROKEN [-D...]: 0 no error in any interleaving, 1 an assertion does not hold, 2 neither
explore() {
    mkdir -p "$work/$1-$2" && cp "$1.pml" "$work/$1-$2/" && (
        cd "$work/$1-$2" && spin -DBROKEN="$2" "${@:3}" -a "$1.pml" > spin.log && \
        ${CC:-cc} -O1 -w -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000 > pan.log 2>&1
        grep -q 'max search depth too small' pan.log && exit 2
        grep -q 'errors: 0$' pan.log && exit 0
        grep -q 'assertion violated' pan.log && exit 1
        exit 2
    )
}

bad=0
for model in *.pml; do
    model=${model%.pml}
    # A line 'LONG': tens of seconds, under make stress.
    grep -q '^ \* LONG$' "$model.pml" && [ "${TEST_SCALE:-1}" -le 1 ] && continue
    if explore "$model" 0; then
        echo "ok $model holds: $(grep -o '[0-9.e+]* states, stored' "$work/$model-0/pan.log" | head -1)"
    else
        echo "FAIL $model: $(grep -h 'pan:1\|too small' "$work/$model-0/pan.log" | head -1)"
        tail -n 5 "$work/$model-0/pan.log"
        bad=1
    fi
    # A line 'ALSO: -D...' is a second size of the model.
    read -ra also < <(sed -n 's/^ \* ALSO: //p' "$model.pml")
    if [ ${#also[@]} -gt 0 ]; then
        if explore "$model" 0 "${also[@]}"; then
            echo "ok $model with ${also[*]} holds: $(grep -o '[0-9.e+]* states, stored' "$work/$model-0/pan.log" | head -1)"
        else
            echo "FAIL $model with ${also[*]}: $(grep -h 'pan:1\|too small' "$work/$model-0/pan.log" | head -1)"
            bad=1
        fi
    fi
    for broken in $(grep -o '=[1-9]:\|=[1-9]  *\|=[1-9]\.' "$model.pml" | tr -dc '1-9\n' | sort -u); do
        explore "$model" "$broken"
        if [ $? = 1 ]; then
            echo "ok $model variant $broken is found out"
        else
            echo "FAIL $model: variant $broken is not found out"
            bad=1
        fi
    done
done
exit $bad
