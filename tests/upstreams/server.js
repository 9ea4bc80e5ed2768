// A router on Node's http: it compares the decoded path, as Express does, which also ignores letter case unless told otherwise.
// node server.js exact|ignore_case RESOURCE...
'use strict';
const http = require('http');

const [letterCase, ...resources] = process.argv.slice(2);
const fold = (text) => (letterCase === 'ignore_case' ? text.toLowerCase() : text);
const known = new Map(resources.map((resource) => [fold(resource), resource]));

const server = http.createServer((request, response) => {
  let path;
  try {
    path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
  } catch {
    response.writeHead(400).end();
    return;
  }
  const resource = known.get(fold(path)) ?? known.get(fold(path.replace(/\/$/, '')));
  response.writeHead(resource ? 200 : 404).end(resource ? `acted: ${resource}` : '');
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
