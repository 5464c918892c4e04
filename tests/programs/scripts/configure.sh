# In the manner of autoconf: hundreds of small questions, each asked in subshells.
exec 6>&1 5> config.log
n=0
check() { # name, program text
    printf 'checking for %s... ' "$1" >&6
    (
        as_name=$(printf '%s\n' "$1" | sed 'y%abcdefghijklmnopqrstuvwxyz/.-%ABCDEFGHIJKLMNOPQRSTUVWXYZ___%')
        printf '%s\n' "$2" > conftest.c
        if (eval "cc -o conftest conftest.c") 2> conftest.err; then
            echo "#define HAVE_$as_name 1" >> confdefs.h
            exit 0
        fi
        echo "/* #undef HAVE_$as_name */" >> confdefs.h
        exit 1
    ) && ac=yes || ac=no
    eval "ac_cv_$n=\$ac"; n=$((n + 1))
    echo "$ac" >&6
    rm -f conftest*
}
: > confdefs.h
for h in stdio.h stdlib.h nothere.h; do check "$h" "#include <$h>
int main(void) { return 0; }"; done
for f in malloc strlcpy_missing fork; do check "$f" "char $f(); int main(void) { return $f(); }"; done
# The questions that need no compiler
i=0
while [ $i -lt 150 ]; do
    ac_x=`(expr $i \* 7 % 13) 2> /dev/null || echo none`
    as_dir=`dirname -- "/usr/lib/x$i/y" || expr "X/usr" : 'X\(.*\)'`
    case $ac_x in 0) echo "mark $i $as_dir";; esac
    i=$(($i + 1))
done
saved=$(set | grep -c '^ac_cv_'); echo "$saved answers"
{ echo "cat <<'EOT'"; for k in 0 1 2 3 4 5; do eval "echo ac_cv_$k=\$ac_cv_$k"; done; echo EOT; } > config.status
sed -e 's/#define HAVE_\(.*\) 1/#define HAVE_\1 1 \/* found *\//' confdefs.h > config.h
( . ./config.status ) | while read -r line; do echo "status: $line"; done
cat config.h
