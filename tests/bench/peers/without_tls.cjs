// Lets datadog-ci reach a server on this machine, without TLS: node --require without_tls.cjs, with BENCH_PORT.
const net = require('node:net')
const tls = require('node:tls')

tls.connect = () => {
  const socket = net.connect({host: '127.0.0.1', port: Number(process.env.BENCH_PORT)})
  socket.once('connect', () => socket.emit('secureConnect'))
  return socket
}
