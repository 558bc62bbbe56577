/* SPDX-License-Identifier: Apache-2.0 */

/* The scripts of the shared counters inside the program, each behind what they share; and those of
 * the shared ledger. */

	.section .rodata
	.globl store_admit_lua, store_admit_lua_end
	.globl store_report_lua, store_report_lua_end
	.globl store_assert_lua, store_assert_lua_end
	.globl store_beat_lua, store_beat_lua_end
	.globl forward_sums_lua, forward_sums_lua_end
	.globl forward_rows_lua, forward_rows_lua_end
	.globl forward_ship_lua, forward_ship_lua_end
	.globl owned_lua, owned_lua_end
	.globl owners_lua, owners_lua_end
store_admit_lua:
	.incbin "policy/scripts/store.lua"
	.incbin "policy/scripts/admit.lua"
store_admit_lua_end:
store_report_lua:
	.incbin "policy/scripts/store.lua"
	.incbin "policy/scripts/report.lua"
store_report_lua_end:
store_assert_lua:
	.incbin "policy/scripts/store.lua"
	.incbin "policy/scripts/assert.lua"
store_assert_lua_end:
store_beat_lua:
	.incbin "policy/scripts/store.lua"
	.incbin "policy/scripts/beat.lua"
store_beat_lua_end:
forward_sums_lua:
	.incbin "policy/scripts/sums.lua"
forward_sums_lua_end:
forward_rows_lua:
	.incbin "policy/scripts/rows.lua"
forward_rows_lua_end:
forward_ship_lua:
	.incbin "policy/scripts/ship.lua"
forward_ship_lua_end:
owned_lua:
	.incbin "policy/scripts/owned.lua"
owned_lua_end:
owners_lua:
	.incbin "policy/scripts/owners.lua"
owners_lua_end:

	.section .note.GNU-stack, "", %progbits
