/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/resident.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"

enum {
    TABLE_BYTES = 68 * 1024, /* more than SQLite takes and gives back with each statement */
    KEEP_FREE_BYTES = 16 * 1024 * 1024,
};

void resident_begin(void)
{
    mallopt(M_MMAP_THRESHOLD, TABLE_BYTES);
}

void resident_serve(void)
{
    mallopt(M_MMAP_THRESHOLD, KEEP_FREE_BYTES);
    memory_keep_free(KEEP_FREE_BYTES);
}

/* Segments that are never written are what is in the file. What was written once - relocations,
 * which lie in writable segments - would be lost. */
static int forget(struct dl_phdr_info *object, size_t bytes, void *page)
{
    (void)bytes;
    uintptr_t mask = ~(*(const uintptr_t *)page - 1);
    if (object->dlpi_name[0] == '/' || object->dlpi_name[0] == 0)
        for (unsigned i = object->dlpi_phnum; i-- > 0;) { /* the list stands in the first of them */
            const ElfW(Phdr) *part = &object->dlpi_phdr[i];
            if (part->p_type != PT_LOAD || part->p_flags & PF_W)
                continue;
            uintptr_t begin = (object->dlpi_addr + part->p_vaddr) & mask;
            uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_memsz) & mask;
            madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
    return 0;
}

void resident_trim(void)
{
    memory_trim();
    malloc_trim(0);
}

void resident_shrink(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    resident_trim();
    if (!UNDER_SANITIZER)
        dl_iterate_phdr(forget, &page);
}
