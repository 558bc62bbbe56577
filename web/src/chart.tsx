// SPDX-License-Identifier: Apache-2.0
// A chart (uPlot) that keyboards and screen readers can use: arrows move the cursor, and there is a table.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { clock, day } from './format'
import { Icon } from './icons'
import { colour, colours } from './theme'
import type { Series, SeriesLine } from './types'
import { Empty } from './ui'

export interface Line { name: string; values: (number | null)[]; tone?: string }
export interface Frame { x: number[]; step: number; lines: Line[] }

const tones = ['plot-1', 'plot-2', 'plot-3', 'plot-4', 'plot-5', 'plot-6', 'plot-7']

/** A name keeps its colour, on all charts and from one page to the next. */
const known = new Map<string, string>()
export function toneOf(name: string): string {
  if (!known.has(name)) known.set(name, tones[known.size % tones.length])
  return known.get(name)!
}

/** The lines of /series on one axis. Sums are 0 where nothing was, means are not there. The last
 * bucket may still be filling. */
export function frame(series: Series, names?: (name: string) => string, tone?: (name: string) => string): Frame {
  const step = series.step_s
  const from = Math.ceil(series.since / step) * step
  const x: number[] = []
  for (let at = from; at < series.until || x.length < 2; at += step) x.push(at)
  const isMean = series.unit === 'us'
  const values = (line: SeriesLine) => {
    const known = new Map(line.points)
    return x.map((at) => known.get(at) ?? (isMean ? null : 0))
  }
  const lines = [...series.series, ...(series.others ? [{ ...series.others, name: 'others' }] : [])]
  return {
    x,
    step,
    lines: lines.map((line) => ({ name: names ? names(line.name) : line.name || 'none', values: values(line), tone: tone?.(line.name) ?? (line.name === 'others' ? 'plot-8' : line.name === '' ? 'plot-1' : toneOf(line.name)) })),
  }
}

interface ChartProps {
  label: string
  of: Frame
  format: (value: number) => string
  kind?: 'bars' | 'lines'
  height?: number
}

const when = (at: number, step: number) => {
  const moment = new Date(at * 1000)
  return step >= 86400 ? day(moment) : `${day(moment)} ${clock(moment)}`
}

/** The lines one upon the other: what is drawn first reaches highest. */
function stack(lines: Line[]): (number | null)[][] {
  const sums = lines[0]?.values.map(() => 0) ?? []
  return lines.map((line) => line.values.map((value, i) => (sums[i] += value ?? 0)))
}

function draw(host: HTMLElement, { of, format, kind = 'bars', height = 190 }: ChartProps, onMove: (i: number | null) => void): uPlot {
  const stacked = kind === 'bars'
  const order = of.lines.map((_, i) => i)
  const data = stacked ? stack(of.lines) : of.lines.map((line) => line.values)
  if (stacked) order.reverse()
  const text = colour('muted'), grid = colour('grid')
  const font = `11px ${getComputedStyle(document.body).fontFamily}`
  const options: uPlot.Options = {
    width: Math.max(120, host.clientWidth),
    height,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: kind === 'lines', size: 7 } },
    scales: {
      x: { time: true, range: (_, min, max) => (stacked ? [min - of.step * 0.1, max + of.step] : [min, max]) },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        stroke: text, font, grid: { show: false }, ticks: { show: false }, gap: 6, size: 26, space: 64,
        values: (_, splits) => splits.map((at) => (of.step >= 86400 ? day(new Date(at * 1000)) : clock(new Date(at * 1000)))),
      },
      { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, gap: 8, size: 58, space: 38, values: (_, splits) => splits.map((one) => format(one)) },
    ],
    series: [
      {},
      ...order.map((i) => {
        const tone = colour(of.lines[i].tone ?? tones[i % tones.length])
        return stacked
          ? { stroke: tone, fill: tone, width: 0, points: { show: false }, paths: uPlot.paths.bars!({ size: [0.8, 28], align: 1, radius: order.length === 1 ? 0.15 : 0 }) }
          : { stroke: tone, width: 1.75, points: { show: false }, spanGaps: true, dash: i % 2 ? [6, 3] : undefined }
      }),
    ],
    hooks: { setCursor: [(plot) => onMove(plot.cursor.idx ?? null)] },
  }
  const plot = new uPlot(options, [of.x, ...order.map((i) => data[i])] as uPlot.AlignedData, host)
  return plot
}

function AsTable({ label, of, format }: ChartProps) {
  return (
    <div class="scroll short" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Time</th>
            {of.lines.map((line) => (
              <th scope="col" class="right">{line.name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {of.x.map((at, i) => (
            <tr>
              <td>{when(at, of.step)}</td>
              {of.lines.map((line) => (
                <td class="right">{line.values[i] === null ? '–' : format(line.values[i]!)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

export function Chart(props: ChartProps) {
  const { label, of, format, height = 190 } = props
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>()
  const [at, setAt] = useState<number | null>(null)
  const [isTable, setTable] = useState(false)
  const paint = colours.value
  const isEmpty = !of.lines.some((line) => line.values.some((value) => value))
  const shape = useMemo(() => of.lines.map((line) => line.name).join('\n') + of.step, [of])

  useEffect(() => {
    if (!host.current || isTable || isEmpty) return
    const made = draw(host.current, props, setAt)
    plot.current = made
    const watch = new ResizeObserver(() => host.current && made.setSize({ width: Math.max(120, host.current.clientWidth), height }))
    watch.observe(host.current)
    return () => {
      watch.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [paint, isTable, isEmpty, shape, props.kind])

  useEffect(() => {
    if (!plot.current) return
    const stacked = (props.kind ?? 'bars') === 'bars'
    const data = stacked ? stack(of.lines).reverse() : of.lines.map((line) => line.values)
    plot.current.setData([of.x, ...data] as uPlot.AlignedData)
  }, [of])

  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step || !plot.current) return
    event.preventDefault()
    const next = Math.max(0, Math.min(of.x.length - 1, (at ?? (step > 0 ? -1 : of.x.length)) + step))
    plot.current.setCursor({ left: plot.current.valToPos(of.x[next], 'x'), top: 10 })
    setAt(next)
  }

  const shown = at !== null && at < of.x.length ? at : null
  return (
    <figure class="chart">
      {isEmpty ? (
        <Empty title="No calls in this time" />
      ) : isTable ? (
        <AsTable {...props} />
      ) : (
        <div class="plot" ref={host} tabIndex={0} role="img" aria-label={`${label}; arrow keys move through the times`} onKeyDown={onKeyDown} onBlur={() => setAt(null)} />
      )}
      <figcaption>
        <span class="legend">
          <span class="legend-time">{shown !== null ? when(of.x[shown], of.step) : ''}</span>
          {of.lines.map((line, i) => (
            <span class="legend-item">
              <i class={`swatch ${line.tone ?? tones[i % tones.length]}`} />
              {line.name}
              {shown !== null && <b>{line.values[shown] === null ? '–' : format(line.values[shown]!)}</b>}
            </span>
          ))}
        </span>
        {!isEmpty && (
          <button type="button" class="button quiet small" aria-pressed={isTable} onClick={() => setTable(!isTable)} title={isTable ? 'Show as a chart' : 'Show as a table'}>
            <Icon name={isTable ? 'overview' : 'table'} />
            <span class="hidden">{`${label} as a ${isTable ? 'chart' : 'table'}`}</span>
          </button>
        )}
      </figcaption>
    </figure>
  )
}

/** A small one without axes; the figure beside it says what it is. */
export function Spark({ values, tone = 'plot-1' }: { values: (number | null)[]; tone?: string }) {
  const top = Math.max(1e-9, ...values.map((value) => value ?? 0))
  const width = 120, height = 32
  const points = values.map((value, i) => [(i / Math.max(1, values.length - 1)) * width, height - 2 - ((value ?? 0) / top) * (height - 4)])
  if (points.length < 2) return <svg class="spark" viewBox={`0 0 ${width} ${height}`} aria-hidden="true" />
  const path = points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')
  return (
    <svg class={`spark ${tone}`} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="spark-area" d={`${path}L${width} ${height}L0 ${height}Z`} />
      <path class="spark-line" d={path} vector-effect="non-scaling-stroke" />
    </svg>
  )
}
