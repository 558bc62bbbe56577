// SPDX-License-Identifier: Apache-2.0
// After `vite build`: a gzip and a brotli form beside each file of dist/, and gateway/dashboard_files.{S,h},
// by which the program carries them.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const dist = new URL('./dist/', import.meta.url).pathname
const gateway = new URL('../gateway/', import.meta.url).pathname
const types = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  md: 'text/markdown; charset=utf-8',
}

const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(dist.length))
for (const name of files.filter((name) => /\.(br|gz)$/.test(name))) rmSync(dist + name)

const plain = files.filter((name) => !/\.(br|gz)$/.test(name)).sort()
let table = ''
let assembly = `/* SPDX-License-Identifier: Apache-2.0 */
/* Written by web/pack.mjs (\`make web\`): the forms of each file, one behind the other. */

\t.section .rodata
`
let total = 0
plain.forEach((name, n) => {
  const bytes = readFileSync(dist + name)
  const gzip = gzipSync(bytes, { level: 9 })
  gzip[9] = 255 // the system that packed it is nobody's business, and no difference
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 22, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  })
  writeFileSync(dist + name + '.gz', gzip)
  writeFileSync(dist + name + '.br', brotli)
  total += brotli.length
  const path = name === 'index.html' ? '' : name
  table += ` \\\n    X(${n}, "${path}", "${types[name.split('.').pop()]}", ${name.startsWith('assets/')})`
  const symbol = `dashboard_${n}`
  assembly += `\t.globl ${symbol}_plain, ${symbol}_gzip, ${symbol}_brotli, ${symbol}_end\n`
  assembly += `${symbol}_plain:\n\t.incbin "web/dist/${name}"\n`
  assembly += `${symbol}_gzip:\n\t.incbin "web/dist/${name}.gz"\n`
  assembly += `${symbol}_brotli:\n\t.incbin "web/dist/${name}.br"\n${symbol}_end:\n`
  console.log(`${name}  ${bytes.length} bytes, gzip ${gzip.length}, brotli ${brotli.length}`)
})
console.log(`all of it, brotli: ${(total / 1000).toFixed(1)} kB`)

writeFileSync(gateway + 'dashboard_files.S', assembly + '\n\t.section .note.GNU-stack, "", %progbits\n')
writeFileSync(
  gateway + 'dashboard_files.h',
  `/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dashboard_files - what web/pack.mjs (\`make web\`) has put into dashboard_files.S: number, path
 * below /ui/, type, and whether the name has a hash of the content in it. */

/* clang-format off */
#define DASHBOARD_FILES(X)${table}
/* clang-format on */
`,
)
