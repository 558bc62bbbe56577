/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * resident - what of the program stays in memory when nothing happens.
 *
 * A start touches much that is not needed again for long: the parsers of the configuration, what
 * the libraries do to begin, and tables of which the first entries are far apart.
 */

/* Before the tables of a service are made: those of 64 KiB and more come from the kernel one by
 * one, so that of each only the pages that are used count. */
void resident_begin(void);

/* Bodies of usual size come from the heap from now on and go back to it, not to the kernel each
 * time; the janitors of the workers give back what is not used when it is quiet. */
void resident_serve(void);

/* Give back what is free of the heap, at the end of this thread's arena too. Any thread. */
void resident_trim(void);
/* Give back what is free of the heap, at the end of this thread's arena too, and forget the pages
 * of the program and its libraries that can be read from their files again, most often from the
 * kernel's cache: some microseconds for each 64 KiB that are needed after all. Not under a
 * sanitizer. Any thread. */
void resident_shrink(void);
