// SPDX-License-Identifier: Apache-2.0
// A certified OpenID provider (panva's oidc-provider) for the tests of signing in: `node issuer.mjs PORT REDIRECT…`.
// Whom somebody says to be on its page he is; what he may is in PEOPLE. One client for each way to show a secret.
// It ends when its standard input does.
import { generateKeyPairSync } from 'node:crypto'
import { Provider } from 'oidc-provider'

const [port, ...redirects] = process.argv.slice(2)
const PEOPLE = {
  ada: { roles: ['developer', 'admin'], email: 'ada@example.com', email_verified: true },
  vera: { roles: 'viewer', email: 'vera@example.com', email_verified: false },
  lea: { roles: ['tenant:acme'] },
  nobody: { roles: ['developer'] },
  none: {},
}
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
const client = (id, changes) => ({
  client_id: id, client_secret: 'a secret + / with % signs', redirect_uris: redirects, application_type: 'web',
  grant_types: ['authorization_code'], response_types: ['code'], ...changes,
})

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [{ ...rsa, kid: 'r', use: 'sig', alg: 'RS256' }, { ...ec, kid: 'e', use: 'sig', alg: 'ES256' }] },
  clients: [
    client('basic', { token_endpoint_auth_method: 'client_secret_basic' }),
    client('elliptic', { token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256' }),
    client('public', { token_endpoint_auth_method: 'none', client_secret: undefined }),
    client('hmac', { token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'HS256', client_secret: 'a secret that is long enough for an HMAC, 32 bytes' }),
  ],
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'HS256'] },
  pkce: { required: () => true },
  cookies: { keys: ['only for tests'] },
  claims: { openid: ['sub'], profile: ['preferred_username', 'name'], email: ['email', 'email_verified'], groups: ['roles'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  // As the standard has it: what a scope stands for is told by UserInfo, not by the ID token.
  conformIdTokenClaims: process.env.CONFORM !== 'no',
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id, ...PEOPLE[id] }) }),
  ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, AuthorizationCode: 60, IdToken: 600 },
})
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'))
process.stdin.on('end', () => process.exit(0)).resume()
