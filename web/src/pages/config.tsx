// SPDX-License-Identifier: Apache-2.0
import { useState } from 'preact/hooks'
import { ask, mayRule, Problem, useQuery } from '../api'
import { ago } from '../format'
import type { ConfigProblem, Overview } from '../types'
import { Ask, Badge, Button, Card, Copy, Empty, Facts } from '../ui'

interface Diff { generation: number; changes: number; changed: string[]; needs_restart: string[] }

function Problems({ of }: { of: ConfigProblem[] }) {
  return (
    <ul class="problems">
      {of.map((one) => <li><code>{[one.file, one.line, one.column].filter(Boolean).join(':')}</code> {one.message}{one.hint && <span class="note"> {one.hint}</span>}</li>)}
    </ul>
  )
}

function Waiting({ onReload }: { onReload: () => void }) {
  const diff = useQuery<Diff>('/config/diff', 5000)
  const [said, setSaid] = useState('')
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const reload = async () => {
    setBusy(true)
    setSaid('')
    setProblem(undefined)
    try {
      const done = await ask<Diff>('POST', '/config/reload')
      setSaid(done.changes ? `In force: ${done.changes} changed.` : 'In force; nothing had changed.')
    } catch (error) {
      setProblem(error as Problem)
    }
    setBusy(false)
    diff.reload()
    onReload()
  }
  const broken = problem?.status === 422 ? problem : diff.problem?.status === 422 ? diff.problem : undefined
  return (
    <Card title="What the file would change" actions={mayRule() && <Button icon="reload" disabled={busy} onClick={reload}>Reload</Button>}>
      {said && <p class="done" role="status">{said}</p>}
      {problem && problem.status !== 422 && <p class="alert" role="alert">{problem.message}</p>}
      {broken ? (
        <div role="alert"><p class="alert">{broken.message}</p><Problems of={(broken.body.errors as ConfigProblem[]) ?? []} /></div>
      ) : (
        <Ask of={diff} empty={(data) => data.changes === 0 && data.needs_restart.length === 0 && <Empty title="The file is what is in force" />}>
          {(data) => (
            <ul class="problems">
              {data.changed.map((one) => <li><code>{one}</code></li>)}
              {data.needs_restart.map((one) => <li><code>{one}</code> <span class="note">needs a restart</span></li>)}
            </ul>
          )}
        </Ask>
      )}
    </Card>
  )
}

export function ConfigPage() {
  const config = useQuery<string>('/config')
  const overview = useQuery<Overview>('/overview', 5000)
  return (
    <>
      <div class="grid two">
        <Card title="In force">
          <Ask of={overview}>
            {(data) => (
              <>
                <Facts rows={[
                  ['File', data.config && <code class="break">{data.config}</code>], ['Since', <span title={data.reload.in_force_since}>{ago(data.reload.in_force_since)}</span>], ['Generation', data.generation],
                  ['Last reload', data.reload.count === 0 ? 'none yet' : <Badge tone={data.reload.good ? 'good' : 'bad'}>{data.reload.good ? 'good' : 'failed'}</Badge>], ['Waits for a restart', data.reload.needs_restart.join(', ')],
                ]} />
                {data.reload.errors.length > 0 && <Problems of={data.reload.errors} />}
              </>
            )}
          </Ask>
        </Card>
        <Waiting onReload={() => { config.reload(); overview.reload() }} />
      </div>
      <Card title="Configuration" note="secrets are masked" actions={config.data && <Copy text={config.data} />} flush>
        <Ask of={config}>
          {(text) => (
            <pre class="log yaml" tabIndex={0} role="region" aria-label="Configuration">
              {text.split('\n').map((line) => {
                const at = line.search(/(^|\s)#/)
                return at < 0 ? <span>{line}{'\n'}</span> : <span>{line.slice(0, at)}<em>{line.slice(at)}</em>{'\n'}</span>
              })}
            </pre>
          )}
        </Ask>
      </Card>
    </>
  )
}
