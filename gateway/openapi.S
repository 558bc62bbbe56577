/* SPDX-License-Identifier: Apache-2.0 */

	.section .rodata
	.balign 16
	.globl openapi_json, openapi_json_end
openapi_json:
	.incbin "gateway/openapi.json"
openapi_json_end:
	.byte 0

	.section .note.GNU-stack, "", %progbits
