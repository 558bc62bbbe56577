// SPDX-License-Identifier: Apache-2.0
import { looks, useQuery } from '../api'
import { duration, int, percent, perMillion, short } from '../format'
import { to } from '../router'
import type { Model, Target } from '../types'
import { Ask, Badge, Card, Empty, Table, type Tone } from '../ui'

export function state(target: Target): { tone: Tone; words: string } {
  if (target.off) return { tone: 'idle', words: target.off_because ? `off: ${target.off_because}` : 'off' }
  if (target.circuit === 'open') return { tone: 'bad', words: 'circuit open' }
  if (target.circuit === 'half-open') return { tone: 'warn', words: 'being tried' }
  if (target.again_in_us) return { tone: 'warn', words: 'left alone' }
  if (!target.attempts) return { tone: 'idle', words: 'not asked yet' }
  return { tone: 'good', words: 'healthy' }
}

function Row({ one, figure }: { one: Model['targets'][number]; figure?: Target }) {
  const now = state(figure ?? { ...one, weight: 1, priority: 1 })
  return (
    <tr>
      <td>{one.id} <span class="note clip" title={one.model}>{one.model}</span></td>
      <td>{one.provider}</td>
      <td><Badge tone={now.tone}>{now.words}</Badge>{!!figure?.again_in_us && <span class="note"> for {duration(figure.again_in_us)}</span>}</td>
      <td class="right">{int(figure?.in_flight ?? 0)}</td>
      <td class="right">{short(figure?.attempts ?? 0)}</td>
      <td class="right">{figure?.attempts ? percent((figure.failures ?? 0) / figure.attempts) : '–'}</td>
      <td class="right">{figure?.first_token_us ? duration(figure.first_token_us) : '–'}</td>
      <td class="right">{figure?.first_token_p95_us ? duration(figure.first_token_p95_us) : '–'}</td>
      <td class="right">{figure?.token_us ? duration(figure.token_us) : '–'}</td>
      <td class="right">{one.price ? perMillion(one.price.input) : '?'}</td>
      <td class="right">{one.price ? perMillion(one.price.output) : '?'}</td>
    </tr>
  )
}

const HEAD: (string | [string, 'right'])[] = ['Target', 'Provider', 'State', ['Running', 'right'], ['Tries', 'right'], ['Failed', 'right'], ['First token', 'right'], ['p95', 'right'], ['A token', 'right'], ['$/M in', 'right'], ['$/M out', 'right']]

const about = (model: Model) =>
  [model.description, model.aliases.length ? `also called ${model.aliases.join(', ')}` : '', model.context_window ? `${short(model.context_window)} tokens of context` : ''].filter(Boolean).join(' · ')

export function ModelsPage() {
  const models = useQuery<{ models: Model[] }>('/models', 10000)
  const targets = useQuery<{ targets: Target[] }>(looks() ? '/targets' : null, 3000)
  const figures = new Map((targets.data?.targets ?? []).map((target) => [target.id, target]))
  return (
    <Card flush>
      <Ask of={models} empty={(data) => data.models.length === 0 && <Empty title="No model is configured"><p>Add one to the file under <code>models</code> and reload it.</p></Empty>}>
        {(data) =>
          looks() ? (
            <Table label="Models and targets" head={HEAD}>
              {data.models.map((model) => (
                <>
                  <tr class="group">
                    <th colSpan={HEAD.length} scope="colgroup">
                      {model.name} <span class="note">{about(model)}</span>
                      <span class="links"><a href={to('requests', { model: model.name })}>Requests</a><a href={to('explain', { model: model.name })}>Explain</a></span>
                    </th>
                  </tr>
                  {model.targets.map((one) => <Row one={one} figure={figures.get(one.id)} />)}
                </>
              ))}
            </Table>
          ) : (
            <Table label="Models" head={['Model', 'About']}>
              {data.models.map((model) => <tr><td><a href={to('requests', { model: model.name })}>{model.name}</a></td><td class="note">{about(model)}</td></tr>)}
            </Table>
          )
        }
      </Ask>
    </Card>
  )
}
