// SPDX-License-Identifier: Apache-2.0
const paths: Record<string, string> = {
  overview: 'M2 13V9m4 4V4m4 9V7m4 6V2',
  requests: 'M2 4h12M2 8h12M2 12h7',
  models: 'M8 1.5 14 5v6l-6 3.500L2 11V5zM2 5l6 3.500L14 5M8 8.500v6',
  usage: 'M8 1.500a6.5 6.5 0 1 0 6.5 6.500H8zM10.5 1.900A6.5 6.5 0 0 1 14.1 5.5',
  keys: 'M9.5 6.500a3.5 3.5 0 1 0-1.7 3L9 10.500h2v2h2.500v-2.800L9.3 7.500M5.5 6h.01',
  limits: 'M2.2 12a6.5 6.5 0 1 1 11.6 0M8 9.500l3-3.500M8 10.500h.01',
  deployments: 'M2.5 2.500h11v4h-11zM2.5 9.500h11v4h-11zM5 4.500h.01M5 11.500h.01',
  explain: 'M3 13V9.500a2.5 2.5 0 0 1 2.5-2.500H13M10 4l3 3-3 3M3 3v2',
  config: 'M2 4.500h7M12 4.500h2M2 11.500h2M7 11.500h7M9 3v3M4 10v3',
  events: 'M8 4v4l2.5 1.500M14.5 8a6.5 6.5 0 1 1-13 0 6.5 6.5 0 0 1 13 0z',
  menu: 'M2 4h12M2 8h12M2 12h12',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.500M8 13.500V15M1 8h1.500M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  moon: 'M13.5 9.500A6 6 0 0 1 6.5 2.500a6 6 0 1 0 7 7z',
  system: 'M1.5 3h13v8.500h-13zM6 14.500h4',
  out: 'M6 2H2.500v12H6M10.5 11.5 14 8l-3.5-3.500M14 8H6',
  close: 'M3.5 3.500l9 9M12.5 3.500l-9 9',
  copy: 'M5.5 5.500h8v8h-8zM10.5 5.500v-3h-8v8h3',
  download: 'M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.500h11',
  reload: 'M13.5 3v3.500H10M13 6.500A5.5 5.5 0 1 0 13.5 9',
  warn: 'M8 2 14.5 13.500h-13zM8 6.500v3M8 11.500h.01',
  good: 'M3 8.5 6.5 12 13 4.5',
  plus: 'M8 3v10M3 8h10',
  table: 'M2 3h12v10H2zM2 6.500h12M6.5 6.500V13',
  left: 'M10 3.5 5.5 8l4.5 4.5',
  right: 'M6 3.5 10.5 8 6 12.5',
}

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  )
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#0f766e" />
      <path d="M8 7v18M24 7v18" stroke="#fff" stroke-width="2.6" stroke-linecap="round" />
      <rect x="11.5" y="7" width="9" height="8" rx="1.5" fill="#fff" />
      <path d="M11 20c1.7-1.6 3.3-1.6 5 0s3.3 1.6 5 0M11 24.500c1.7-1.6 3.3-1.6 5 0s3.3 1.6 5 0" stroke="#7de3d3" stroke-width="2" fill="none" stroke-linecap="round" />
    </svg>
  )
}
