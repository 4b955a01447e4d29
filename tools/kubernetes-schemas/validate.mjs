// SPDX-License-Identifier: BSD-2-Clause
// Objects of the Kubernetes API, a JSON list on standard input, against the validators made of the
// published OpenAPI schema. Those accept fields they do not know, and the API server does not: a
// field that the validator never looks at is one.
import {readFileSync} from "node:fs";

const groups = {
  "v1": "IoK8sApiCoreV1", "apps/v1": "IoK8sApiAppsV1",
  "rbac.authorization.k8s.io/v1": "IoK8sApiRbacV1",
};

function watch(value, path, objects) {
  if (value === null || typeof value !== "object") return value;
  const seen = new Set(), inner = new Map();
  if (!Array.isArray(value)) objects.push({path, keys: Object.keys(value), seen});
  return new Proxy(value, {
    get(target, key) {
      seen.add(key);
      if (!inner.has(key)) inner.set(key, watch(target[key], `${path}/${String(key)}`, objects));
      return inner.get(key);
    },
  });
}

let failed = 0;
const say = (text) => { console.log(text); failed++; };
for (const object of JSON.parse(readFileSync(0))) {
  const name = `${object.kind} ${object.metadata?.name}`, group = groups[object.apiVersion];
  if (!group) { say(`${name}: no apiVersion '${object.apiVersion}' here`); continue; }
  const {validate} = await import(`kubernetes-models/_schemas/${group}${object.kind}`);
  const objects = [];
  if (!validate(watch(object, "", objects)))
    for (const error of validate.errors)
      say(`${name}: ${error.instancePath}: ${error.keyword} ${JSON.stringify(error.params)}`);
  for (const {path, keys, seen} of objects)
    for (const key of keys)
      if (!seen.has(key)) say(`${name}: ${path}/${key}: the API has no such field`);
}
process.exit(failed ? 1 : 0);
