/* SPDX-License-Identifier: Apache-2.0 */
/* Written by web/pack.mjs (`make web`): the forms of each file, one behind the other. */

	.section .rodata
	.globl dashboard_0_plain, dashboard_0_gzip, dashboard_0_brotli, dashboard_0_end
dashboard_0_plain:
	.incbin "web/dist/assets/icon-Cq_Pql_U.svg"
dashboard_0_gzip:
	.incbin "web/dist/assets/icon-Cq_Pql_U.svg.gz"
dashboard_0_brotli:
	.incbin "web/dist/assets/icon-Cq_Pql_U.svg.br"
dashboard_0_end:
	.globl dashboard_1_plain, dashboard_1_gzip, dashboard_1_brotli, dashboard_1_end
dashboard_1_plain:
	.incbin "web/dist/assets/index-DQMhL4bf.css"
dashboard_1_gzip:
	.incbin "web/dist/assets/index-DQMhL4bf.css.gz"
dashboard_1_brotli:
	.incbin "web/dist/assets/index-DQMhL4bf.css.br"
dashboard_1_end:
	.globl dashboard_2_plain, dashboard_2_gzip, dashboard_2_brotli, dashboard_2_end
dashboard_2_plain:
	.incbin "web/dist/assets/index-NibJ9CK9.js"
dashboard_2_gzip:
	.incbin "web/dist/assets/index-NibJ9CK9.js.gz"
dashboard_2_brotli:
	.incbin "web/dist/assets/index-NibJ9CK9.js.br"
dashboard_2_end:
	.globl dashboard_3_plain, dashboard_3_gzip, dashboard_3_brotli, dashboard_3_end
dashboard_3_plain:
	.incbin "web/dist/index.html"
dashboard_3_gzip:
	.incbin "web/dist/index.html.gz"
dashboard_3_brotli:
	.incbin "web/dist/index.html.br"
dashboard_3_end:
	.globl dashboard_4_plain, dashboard_4_gzip, dashboard_4_brotli, dashboard_4_end
dashboard_4_plain:
	.incbin "web/dist/licenses.md"
dashboard_4_gzip:
	.incbin "web/dist/licenses.md.gz"
dashboard_4_brotli:
	.incbin "web/dist/licenses.md.br"
dashboard_4_end:

	.section .note.GNU-stack, "", %progbits
