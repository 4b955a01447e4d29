// SPDX-License-Identifier: BSD-2-Clause
// h2origin.js DIRECTORY ADDRESS [h1|connect]: an origin that speaks HTTP/2 (and HTTP/1.1 with `h1`;
// WebSocket by RFC 8441 with `connect`) and notes each request in DIRECTORY/h2origin.log as one JSON
// line.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');
const [directory, address, kind] = process.argv.slice(2);
const log = fs.openSync(directory + '/h2origin.log', 'a', 0o600);
// Root of a sandbox owns what root owns: the log is somebody else's.
fs.fchownSync(log, 65533, 65533);
const secret = new Set(['authorization', 'x-api-key']);
let connections = 0;

const server = http2.createSecureServer({
  key: fs.readFileSync(directory + '/origin.key'), cert: fs.readFileSync(directory + '/origin.pem'),
  allowHTTP1: kind === 'h1',
  settings: {maxConcurrentStreams: 100, enableConnectProtocol: kind === 'connect'},
});

function note(request, extra) {
  const headers = {};
  for (const [k, v] of Object.entries(request.headers)) headers[k] = v;
  const record = {address, version: request.httpVersion, method: request.method, path: request.url,
                  headers, connection: request.socket.number, ...extra};
  fs.writeSync(log, JSON.stringify(record) + '\n');
  for (const k of Object.keys(headers))
    if (secret.has(k)) headers[k] = 'sha256:' + crypto.createHash('sha256').update(headers[k]).digest('hex');
  return record;
}

function echo(request, response) {
  const hash = crypto.createHash('sha256');
  let length = 0;
  request.on('data', d => { hash.update(d); length += d.length; });
  request.on('end', () => {
    const record = note(request, {length, sha256: hash.digest('hex'), trailers: request.trailers});
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(record) + '\n');
  });
}

const pages = {
  echo,
  bytes(request, response, size) {
    note(request);
    let left = Number(size);
    const block = Buffer.alloc(65536, '0123456789abcdef');
    response.writeHead(200, {'content-length': left});
    const more = () => {
      while (left > 0) {
        const part = block.subarray(0, Math.min(left, block.length));
        left -= part.length;
        if (!response.write(part)) return response.once('drain', more);
      }
      response.end();
    };
    more();
  },
  trailers(request, response) {
    note(request);
    response.writeHead(200, {trailer: 'x-sum'});
    response.write('body\n');
    response.addTrailers({'x-sum': 'done', 'x-more': 'yes'});
    response.end();
  },
  bare(request, response) { note(request); request.stream.respond({':status': 200, 'grpc-status': '12'}, {endStream: true}); },
  hints(request, response) { note(request); response.writeEarlyHints({link: '</a>; rel=preload'}); response.end('hinted\n'); },
  reset(request, response, code) {
    note(request);
    response.writeHead(200);
    response.write('part');
    setTimeout(() => request.stream.close(Number(code)), 50);
  },
  refuse(request) { note(request); if (!request.session_refused) request.stream.close(7); },
  refuseonce(request, response) {
    note(request);
    if (server.refused) return response.end('second time\n');
    server.refused = true;
    request.stream.close(7);
  },
  goaway(request, response) { note(request); request.stream.session.goaway(0); response.end('bye\n'); },
  drop(request) { note(request); request.stream.session.destroy(); },
  drip(request, response, count) {
    note(request);
    response.writeHead(200);
    let left = Number(count);
    const timer = setInterval(() => { response.write('.'); if (--left <= 0) { clearInterval(timer); response.end(); } }, 100);
    request.on('close', () => clearInterval(timer));
  },
  // Answers each piece of the request as it comes: both ways at the same time.
  mirror(request, response) { note(request); response.writeHead(200); request.pipe(response); },
  stall(request) { note(request); /* never reads, never answers */ },
};

// A WebSocket as far as a proxy is concerned: bytes come back as they are.
server.on('upgrade', (request, socket) => {
  note(request);
  if (request.url === '/no') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  const accept = crypto.createHash('sha1').update(request.headers['sec-websocket-key'] +
    '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  if (request.url === '/unswitched') {
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno');
    return;
  }
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello`);
  socket.pipe(socket);
});
// The same by extended CONNECT.
server.on('connect', (request, response) => {
  note(request, {protocol: request.headers[':protocol']});
  const stream = request.stream;
  stream.on('error', () => {});
  if (request.url === '/no') { stream.respond({':status': 403, 'content-length': 2}); return stream.end('no'); }
  const lie = {'/short': 3, '/long': 1}[request.url];
  if (lie) { stream.respond({':status': 403, 'content-length': lie}); return stream.end('no'); }
  if (request.url === '/cut') { stream.respond({':status': 200}); stream.write('hello'); return setTimeout(() => stream.destroy(new Error('cut')), 50); }
  stream.respond({':status': 200, 'sec-websocket-protocol': 'chat', 'sec-websocket-accept': 'forged'});
  stream.write('hello');
  stream.pipe(stream);
});
server.on('secureConnection', socket => { socket.number = ++connections; });
server.on('session', session => session.on('error', () => {}));
server.on('request', (request, response) => {
  request.on('error', () => {});
  response.on('error', () => {});
  const [, name, argument] = request.url.split('?')[0].split('/');
  (pages[name] || echo)(request, response, argument);
});
server.on('sessionError', () => {});
server.listen(443, address);
