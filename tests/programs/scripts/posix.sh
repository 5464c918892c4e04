# Runs under bash and dash: everything a POSIX shell does with processes.
set -u
x=outer
( x=inner; echo "sub: $x" )
echo "after: $x"
y=$(x=substituted; echo "$x"; exit 3); echo "$y $?" "$x"
i=0; sum=0
while [ $i -lt 250 ]; do
    v=$( n=$((i * i)); echo $n )
    sum=$((sum + v)); i=$((i + 1))
done
echo "250 substitutions: $sum"
( ( ( ( x=deep; echo "$x" ); echo "$x" ); x=2; echo "$x" ); echo "$x" )
f() { local_f=$1; ( local_f=sub; echo "$local_f" ); echo "$local_f"; }
f first; f second
cat <<END
here $x $( ( x=here; echo "$x" ) ) $((6 * 7))
END
cat <<'END' | ( while read -r line; do x="$x,$line"; done; echo "$x" )
one
two $x
END
echo "$x"
# A long text through many pipes
seq 20000 | sort -r | sed 's/7/seven/g' | tr 0-9 a-j | sort | uniq | tail -3
big=$(seq 30000); echo "${#big}"; ( big=; echo "${#big}" ); echo "${#big}"
# Traps
( trap 'echo "exit trap of sub"' EXIT; x=trapped; echo "in sub" )
( trap 'echo "exit trap with status $?"' EXIT; exit 5 ); echo "status $?"
( trap 'echo caught int' INT; sh -c 'kill -INT $PPID'; echo "after int" )
( trap 'echo caught usr1; exit 9' USR1; kill -USR1 "$(sh -c 'echo $PPID')"; sleep 5; echo never ); echo "status $?"
( trap '' TERM; sh -c 'kill -TERM $PPID'; echo "ignored term" )
# Background jobs and their statuses
for n in 1 2 3 4 5 6 7 8 9 10; do
    ( x=$n; exit $((n + 10)) ) & eval "pid$n=$!"
done
for n in 1 2 3 4 5 6 7 8 9 10; do eval "wait \$pid$n"; echo "job $n: $?"; done
sleep 100 & kill $!; wait $! 2>/dev/null; echo "killed: $?"
( exec 3>file3; echo to three >&3; exec 3>&- ); cat file3
{ echo grouped; x=group; } > file4; cat file4; echo "$x"
set -- a "b c" d; ( shift; set -- z "$@"; echo "$#" "$@" ); echo "$#" "$@"
( cd / && pwd ); [ "$(pwd)" = "$WORK" ] && echo "still here"
( set -e; false; echo never ); echo "set -e: $?"
( unset x; echo "${x-unset}" ); echo "${x-unset}"
( umask 077; umask ); umask
( exit 300 ); echo $?
sh -c 'x=child; exit 4'; echo $?
eval 'echo $(echo $(echo $(echo nested)))'
echo a b c | { read -r p q; echo "$q $p"; }
n=0; while [ $n -lt 30 ]; do ( n=100; : ) ; n=$((n + 1)); done; echo $n
export EXPORTED=1; env | grep EXPORTED; ( EXPORTED=2; env | grep EXPORTED ); env | grep EXPORTED
alias_test() { echo "function $*"; }; alias_test 1 2; ( alias_test() { echo replaced; }; alias_test ); alias_test 3
mkfifo fifo; ( read -r l < fifo; echo "read $l" ) & echo through > fifo; wait
trap 'echo "the end"' EXIT
exit 0
