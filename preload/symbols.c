/* symbols.c - the name of the function at an address, for HSHM_LEAKS.
 *
 * dladdr() knows exported names only.  Those of a program's own functions are in the symbol table
 * of its file, if it was not stripped; that is read when it is asked for, at exit. */
#include "preload/preload.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    const char *at;
    size_t size;
};

static bool file_map(const char *path, struct file *f)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    f->size = fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    void *at = f->size ? mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    f->at = at;
    return at != MAP_FAILED;
}

/* 'count' things of 'size' bytes at 'off', or NULL if they are not in the file. */
static const void *inside(const struct file *f, uint64_t off, uint64_t count, uint64_t size)
{
    return off <= f->size && count <= (f->size - off) / size ? f->at + off : NULL;
}

static bool name_in_table(const struct file *f, const Elf64_Shdr *table, const Elf64_Shdr *strings,
                          uint64_t address, char *to, size_t size)
{
    uint64_t count = table->sh_size / sizeof(Elf64_Sym);
    const Elf64_Sym *symbols = inside(f, table->sh_offset, count, sizeof *symbols);
    const char *names = inside(f, strings->sh_offset, strings->sh_size, 1);
    for (uint64_t i = 0; symbols && names && i < count; i++) {
        const Elf64_Sym *s = &symbols[i];
        if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || address < s->st_value ||
            address - s->st_value >= (s->st_size ? s->st_size : 1) ||
            s->st_name >= strings->sh_size)
            continue;
        uint64_t room = strings->sh_size - s->st_name;
        snprintf(to, size, "%.*s", room < 200 ? (int)room : 200, names + s->st_name);
        return true;
    }
    return false;
}

static bool name_in_file(const char *path, uint64_t address, char *to, size_t size)
{
    struct file f;
    bool found = false;
    if (!file_map(path, &f))
        return false;
    const Elf64_Ehdr *elf = inside(&f, 0, 1, sizeof *elf);
    const Elf64_Shdr *sections =
        elf && memcmp(elf->e_ident, ELFMAG, SELFMAG) == 0 && elf->e_ident[EI_CLASS] == ELFCLASS64
            ? inside(&f, elf->e_shoff, elf->e_shnum, sizeof *sections)
            : NULL;
    for (unsigned i = 0; sections && !found && i < elf->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < elf->e_shnum)
            found =
                name_in_table(&f, &sections[i], &sections[sections[i].sh_link], address, to, size);
    munmap((void *)f.at, f.size);
    return found;
}

/* Of a program that is not position-independent the addresses in the file are those in memory. */
static bool is_fixed(const Dl_info *info)
{
    const Elf64_Ehdr *elf = info->dli_fbase;
    return elf->e_type == ET_EXEC;
}

void symbol_put(char *to, size_t size, void *address)
{
    Dl_info info;
    char name[201] = "";
    const char *call = (const char *)address - 1; /* in the call, not behind it */
    if (!dladdr(call, &info) || !info.dli_fname || !info.dli_fbase) {
        snprintf(to, size, "%p", address);
        return;
    }
    uint64_t off = (uint64_t)(call - (const char *)info.dli_fbase);
    const char *path = access(info.dli_fname, R_OK) == 0 ? info.dli_fname : "/proc/self/exe";
    if (!name_in_file(path, is_fixed(&info) ? (uintptr_t)call : off, name, sizeof name) &&
        info.dli_sname)
        snprintf(name, sizeof name, "%.200s", info.dli_sname);
    const char *slash = strrchr(info.dli_fname, '/'), *file = slash ? slash + 1 : info.dli_fname;
    if (*name)
        snprintf(to, size, "%.60s (%.40s+0x%lx)", name, file, (unsigned long)off + 1);
    else
        snprintf(to, size, "%.40s+0x%lx", file, (unsigned long)off + 1);
}
