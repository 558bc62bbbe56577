/* SPDX-License-Identifier: Apache-2.0 */

/* The catalogue, as it stands in the source tree, inside the program. */

	.section .rodata
	.balign 16
	.globl providers_json, providers_json_end, models_json, models_json_end
providers_json:
	.incbin "providers/providers.json"
providers_json_end:
	.byte 0
models_json:
	.incbin "providers/models.json"
models_json_end:
	.byte 0

	.section .note.GNU-stack, "", %progbits
