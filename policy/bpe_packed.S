/* SPDX-License-Identifier: Apache-2.0 */

/* The tables of OpenAI's tokenizers inside the program; what is in them: policy/bpe/pack.py. */

	.section .rodata
	.balign 16
	.globl bpe_letters
	.globl bpe_o200k, bpe_o200k_end, bpe_cl100k, bpe_cl100k_end
bpe_letters:
	.incbin "policy/bpe/letters.bin"
bpe_o200k:
	.incbin "policy/bpe/o200k_base.bin"
bpe_o200k_end:
bpe_cl100k:
	.incbin "policy/bpe/cl100k_base.bin"
bpe_cl100k_end:

	.section .note.GNU-stack, "", %progbits
