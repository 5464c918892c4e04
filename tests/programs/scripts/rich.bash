# What bash has beyond POSIX, with variables that must not leak out of children.
set -u
shopt -s extglob nullglob lastpipe
declare -a list=(); declare -A map=()
for i in {1..500}; do list+=("item $i"); map[k$i]="v$((i * i))"; done
( list=(); map=(); echo "sub ${#list[@]} ${#map[@]}" ); echo "main ${#list[@]} ${#map[@]} ${map[k77]}"
checksum() { printf '%s\n' "$@" | md5sum | cut -c1-8; }
checksum "${list[@]}"; checksum "${list[@]/item/thing}"; checksum "${list[@]:100:50}"
for i in {1..220}; do got=$(list[0]=changed$i; echo "${list[0]}"); [[ $got == changed$i && ${list[0]} == "item 1" ]] || echo "leak at $i"; done
echo "substitutions done"
nest() { local depth=$1 text=$2; if ((depth)); then echo "$(text="$text$depth"; nest $((depth - 1)) "$text")"; else echo "$text"; fi; echo "-$text"; }
nest 12 s | md5sum; nest 3 s
# Process substitution and redirections
diff <(printf '%s\n' "${list[@]}" | sort) <(printf '%s\n' "${list[@]}" | sort -r | tac) && echo same
paste <(seq 5) <(seq 6 10) <(seq 11 15)
exec 5<> rw; echo "line one" >&5; exec 5>&-; cat rw
while read -r a b; do map[$a]=$b; done < <(seq 100 | sed 's/.*/new& val&/'); echo "${#map[@]} ${map[new42]}"
seq 10 | while read -r n; do last=$n; done; echo "lastpipe $last"
cat <<< "here string $( (i=nope; echo $i) ) $i"
# Traps
trap 'echo "usr1 $((++usr1))"' USR1; usr1=0
for _ in 1 2 3; do kill -USR1 $BASHPID; done; echo "count $usr1"
( trap 'echo "sub exit, i=$i"' EXIT; i=77 ); echo "i=$i"
( trap 'echo err $?' ERR; set -E; g() { false; }; g; echo on )
( trap 'echo debug' DEBUG; : ; : )
( trap 'echo "return"' RETURN; r() { :; }; declare -ft r; r )
chld=0; trap '((++chld))' CHLD; for n in 1 2 3 4 5; do /bin/true; done; ( exit 1 ) & wait $!; trap - CHLD; ((chld >= 1)) && echo "chld seen"
( trap 'echo int; exit 130' INT; kill -INT $BASHPID; echo never ); echo "int $?"
( trap '' HUP; kill -HUP $BASHPID; echo "hup ignored" )
# Jobs
declare -A job
for n in {1..40}; do ( list[n]=mine$n; m=0; for k in "${list[@]}"; do ((m += ${#k})); done; echo $m > size.$n; exit $((n % 5)) ) & job[$n]=$!; done
for n in {1..40}; do wait ${job[$n]}; echo -n "$? "; done; echo; cat size.{1..40} | md5sum
( sleep 1000 & p=$!; kill -KILL $p; wait $p; echo "killed $?" ) 2> /dev/null
a=$( (sleep 0.05; echo late) & echo early; wait ); echo "$a"
for n in 1 2 3; do { echo "bg $n"; } > bg.$n & done; wait; cat bg.*
( exit 7 ) & wait $!; echo "wait $?"
# Coprocesses
coproc UP { while IFS= read -r l; do printf '%s\n' "${l^^}"; map[k1]=coproc; done; }
up=$UP_PID
for w in alpha beta gamma "${list[@]:0:100}"; do printf '%s\n' "$w" >&"${UP[1]}"; IFS= read -r r <&"${UP[0]}"; all+="$r;"; done; checksum "$all"
exec {UP[1]}>&-; wait $up; echo "coproc $? ${map[k1]}"
# Strings
s=$(printf 'x%.0s' {1..5000}); echo ${#s}; s=${s//x/yz}; echo ${#s}; ( s=${s:0:10}; echo $s ); echo ${#s}
[[ "2024-05-06" =~ ^([0-9]+)-([0-9]+)-([0-9]+)$ ]] && echo "${BASH_REMATCH[@]}"
printf -v padded '%-20s|' name; echo "$padded"; printf '%q\n' "a b'c\$d"
mapfile -t lines < <(seq 20000); echo ${#lines[@]} ${lines[-1]}; unset 'lines[3]'; echo ${#lines[@]}
IFS=: read -ra parts <<< "a:b:c::e"; echo "${#parts[@]} ${parts[*]@Q}"
eval "f_$i() { echo eval \$1; }"; f_$i ok; declare -n ref=padded; ref=changed; echo $padded
case file.tar.gz in *.@(tar|zip).*) echo glob;; esac
for ((k = 0, z = 0; k < 20000; k++)); do ((z = (z * 31 + k) % 1000003)); done; echo $z
select_out=$(select c in a b; do echo "chose $c"; break; done <<< 2 2> /dev/null); echo "$select_out"
bash -c 'x=${1:-none}; (x=sub); echo "$x $BASH_SUBSHELL"' _ arg
( ( ( ( ( echo "depth $BASH_SUBSHELL" ) ) ) ) )
exec 3>&1; err=$( { echo out >&3; echo err >&2; } 2>&1 ); echo "captured $err"
set -o pipefail; false | true; echo "pipefail $? ${PIPESTATUS[*]}"
trap 'echo "last words ${#list[@]}"' EXIT
