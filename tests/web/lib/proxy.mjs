// A server in the middle: passes everything on to the real one, except what a test tells it to do with a frame.

import http from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';

/**
 * Starts one on a port of its own. `hooks.fromClient(frame, connection)` and `hooks.fromServer(frame, connection)` return the
 * frame to pass on, or `null` to pass nothing on; `connection.hello` is what the client said first on it. `hooks.before(path)` returns what a file waits for. They can be changed at any time. `Host` goes on unchanged, as behind an
 * honest proxy.
 */
export async function proxy(t, upstream) {
  const hooks = { before: () => undefined, fromClient: (frame) => frame, fromServer: (frame) => frame };
  const server = http.createServer(async (request, response) => {
    await hooks.before(request.url);
    const onward = http.request(upstream + request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (client, request) => {
    const behind = dial(upstream, request.headers.host);
    const waiting = [];
    const connection = { toClient: (frame) => client.send(frame), toServer: (frame) => behind.send(frame) };
    const onward = (frame) => {
      connection.hello ??= frame;
      const passed = hooks.fromClient(frame, connection);
      if (passed) behind.send(passed);
    };
    client.on('message', (frame) => (behind.readyState === WebSocket.OPEN ? onward(frame) : waiting.push(frame)));
    behind.on('open', () => waiting.splice(0).forEach(onward));
    behind.on('message', (frame) => {
      const passed = hooks.fromServer(frame, connection);
      if (passed) client.send(passed);
    });
    const hangUp = () => (client.terminate(), behind.terminate());
    for (const end of [client, behind]) end.on('close', hangUp).on('error', hangUp);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, hooks };
}

/** A connection to a server's protocol. */
export function dial(url, host) {
  return new WebSocket(`${url.replace('http', 'ws')}/v1/ws`, { headers: host ? { host } : {} });
}
