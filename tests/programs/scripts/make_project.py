"""Writes a C project of 40 files, a static and a shared library, generated headers and shell recipes."""
import os
import sys

top = sys.argv[1]
for name in ("src", "lib"):
    os.makedirs(os.path.join(top, name))


def write(name, text):
    with open(os.path.join(top, name), "w") as f:
        f.write(text)


COUNT = 40
HEADERS = ["stdio.h", "stdlib.h", "string.h", "pthread.h", "math.h", "sys/socket.h", "linux/fs.h",
           "netinet/in.h", "signal.h", "sys/stat.h", "time.h", "dirent.h"]
for i in range(COUNT):
    folder = "lib" if i % 2 else "src"
    includes = "".join("#include <%s>\n" % HEADERS[(i + k) % len(HEADERS)] for k in range(6))
    body = "".join("""
static int step_%(i)d_%(k)d(int x) {
    struct { int a[%(n)d]; char text[64]; } s = {.a = {x, %(k)d}};
    for (int j = 1; j < %(n)d; j++) s.a[j] = s.a[j - 1] * 31 + j %% (x + 7);
    snprintf(s.text, sizeof s.text, "%%d", s.a[%(n)d - 1]);
    return (int)strlen(s.text) + (s.a[%(n)d - 1] & 0xff);
}""" % {"i": i, "k": k, "n": 8 + k} for k in range(10))
    calls = "".join("    total += step_%d_%d(x + %d);\n" % (i, k, k) for k in range(10))
    write("%s/f%d.c" % (folder, i), """#include <stdio.h>
#include <string.h>
%s#include "../generated.h"
%s
int f%d(int x) {
    int total = LIMIT;
%s    return total & 0xffff;
}
""" % (includes, body, i, calls))
write("src/main.c", '#include <stdio.h>\n#include "../generated.h"\n' +
      "".join("int f%d(int);\n" % i for i in range(COUNT)) +
      "int main(void) {\n    long t = 0;\n" +
      "".join("    t += f%d(%d);\n" % (i, i) for i in range(COUNT)) +
      '    printf("total %ld limit %d\\n", t, LIMIT);\n    return 0;\n}\n')
write("Makefile", r"""
CFLAGS = -O1 -g -Wall -fPIC -fwrapv
SRC := $(sort $(wildcard src/*.c))
LIB := $(sort $(wildcard lib/*.c))
ODD := $(wordlist 1,10,$(LIB))
EVEN := $(wordlist 11,40,$(LIB))
KIND := $(shell echo $$( (x=sub; echo $$x); echo kind ))
all: app
generated.h: Makefile
	@n=0; for i in $$(seq 20); do n=$$(( $$(x=$$n; echo $$((x + i))) )); done; \
	    echo "#define LIMIT $$n" > $@.tmp; echo '#define KIND "$(KIND)"' >> $@.tmp; mv $@.tmp $@
%.o: %.c generated.h
	@echo "CC $<"
	@$(CC) $(CFLAGS) -c -o $@ $<
libodd.a: $(ODD:.c=.o)
	@rm -f $@; ar rcsD $@ $^
libeven.so: $(EVEN:.c=.o)
	@$(CC) -shared -o $@ $^
app: $(SRC:.c=.o) libodd.a libeven.so
	@$(CC) -o $@ $(SRC:.c=.o) libodd.a -L. -leven -Wl,-rpath,'$$ORIGIN' -lm
report: app
	@nm app | awk '{ print $$NF }' | grep -c '^f[0-9]' ; size app libeven.so; strip -o stripped app; readelf -h stripped | grep -i entry
clean:
	@rm -f */*.o app
""")
