// node issuer.mjs PORT PARLEY ELSEWHERE SECRET: an OpenID issuer at http://127.0.0.1:PORT, by the library oidc-provider, whose own forms
// let anybody in under any name. For the check alone: POST /check/rotate puts a new key before those that there are, POST /check/replace
// one in the place of the oldest, and GET /check/seen says how often the keys were asked for, and how often a client was told of a logout.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [port, parley, elsewhere, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const scopes = "runs:read runs:write";
const signed = { sign: { alg: "RS256" } };

/** What tokens are for, by the name that a client asks with. */
const servers = {
  "urn:parley": { audience: "parley", accessTokenTTL: 600 },
  "urn:parley:brief": { audience: "parley", accessTokenTTL: 3 },
  "urn:elsewhere": { audience: "elsewhere", accessTokenTTL: 600 },
};

const clients = [
  {
    client_id: "parley-web",
    token_endpoint_auth_method: "none",
    redirect_uris: [`${parley}/auth/callback`],
    backchannel_logout_uri: `${parley}/auth/backchannel-logout`,
    backchannel_logout_session_required: true,
  },
  // A program of a person's.
  { client_id: "parley-app", application_type: "native", token_endpoint_auth_method: "none", redirect_uris: [`${elsewhere}/back`] },
  // A program of its own.
  { client_id: "robot", client_secret: secret, grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
];

const cookies = { keys: [randomBytes(32).toString("hex")] };
const newKey = () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomBytes(4).toString("hex"), use: "sig", alg: "RS256" };
};

/** What the issuer keeps: that of the library goes with its keys. */
const kept = new Map();
class Adapter {
  constructor(model) {
    this.model = model;
  }
  async upsert(id, payload) {
    kept.set(`${this.model}:${id}`, payload);
  }
  async find(id) {
    return kept.get(`${this.model}:${id}`);
  }
  async findByUid(uid) {
    return [...kept.values()].find((payload) => payload.kind === this.model && payload.uid === uid);
  }
  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1_000);
  }
  async destroy(id) {
    kept.delete(`${this.model}:${id}`);
  }
  async revokeByGrantId(grantId) {
    for (const [id, payload] of kept) if (payload.grantId === grantId) kept.delete(id);
  }
}

const seen = { keys: 0, told: 0, untold: [] };
let keys = [];
let current;

/** The same issuer, with those keys. */
function serveWith(now) {
  keys = now;
  const provider = new Provider(issuer, {
    adapter: Adapter,
    clients,
    cookies,
    jwks: { keys },
    scopes: ["openid", ...scopes.split(" ")],
    // By itself the library tells nobody on its own machine of a logout.
    fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, name) => ({ ...servers[name], scope: scopes, accessTokenFormat: "jwt", jwt: signed }),
        useGrantedResource: () => true,
      },
    },
  });
  provider.on("backchannel.success", () => seen.told++);
  provider.on("backchannel.error", (_, error) => seen.untold.push(error.message));
  provider.on("server_error", (_, error) => console.error(error));
  current = provider.callback();
}

serveWith([newKey()]);
createServer((request, answer) => {
  if (request.url === "/jwks") seen.keys++;
  switch (`${request.method} ${request.url}`) {
    case "POST /check/rotate":
      serveWith([newKey(), ...keys]);
      break;
    case "POST /check/replace":
      serveWith([newKey(), ...keys.slice(0, -1)]);
      break;
    case "GET /check/seen":
      break;
    default:
      return current(request, answer);
  }
  answer.setHeader("content-type", "application/json").end(JSON.stringify(seen));
}).listen(Number(port), "127.0.0.1");
