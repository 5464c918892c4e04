// Node: buffers, strings, zlib, crypto, workers, child processes, streams.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto'), cp = require('child_process'), fs = require('fs');
if (!isMainThread) {
  const all = []; for (let i = 0; i < 20000; i++) all.push(Buffer.alloc(i % 3000, workerData));
  parentPort.postMessage(all.reduce((s, b) => s + b.length, 0)); return;
}
(async () => {
  const m = new Map(); for (let i = 0; i < 100000; i++) m.set('k' + i, { i, s: 'x'.repeat(i % 50) });
  console.log([...m.values()].reduce((s, v) => s + v.s.length, 0));
  const text = Buffer.from(Array.from({ length: 100000 }, (_, i) => i * 7).join(' '));
  console.log(crypto.createHash('sha256').update(text).digest('hex'), zlib.inflateSync(zlib.deflateSync(text)).equals(text));
  console.log((await Promise.all([1, 2, 3, 4, 5, 6].map(n => new Promise((ok, no) => zlib.gzip(text, { level: n }, (e, b) => e ? no(e) : ok(b.length)))))).length);
  console.log(crypto.scryptSync('p', 's', 32).toString('hex'), crypto.generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.type);
  console.log(await Promise.all([1, 2, 3, 4].map(n => new Promise((ok, no) => { const w = new Worker(__filename, { workerData: n }); w.on('message', ok); w.on('error', no); }))));
  console.log(cp.execSync('echo sync | tr a-z A-Z').toString().trim(), cp.spawnSync('sh', ['-c', 'exit 5']).status);
  console.log(await Promise.all(Array.from({ length: 20 }, (_, n) => new Promise(ok => cp.exec(`echo ${n}; exit ${n}`, (e, out) => ok([out.trim(), e ? e.code : 0].join(':'))))))); 
  const big = []; for (let i = 0; i < 200; i++) big.push(Buffer.alloc(1 << 20, i)); console.log(big.reduce((s, b) => s + b[100], 0)); big.length = 0; if (global.gc) gc();
  for (let i = 0; i < 2000; i++) fs.appendFileSync('f', i + '\n'); console.log(fs.readFileSync('f').length, (await fs.promises.readFile('f', 'utf8')).split('\n').length);
  const child = cp.fork(__filename.replace('rich.js', 'echo.js')); child.send({ a: [1, 2, 3] }); console.log(await new Promise(ok => child.once('message', ok))); child.disconnect(); await new Promise(ok => child.once('exit', ok));
  const net = require('net'), server = net.createServer(s => s.pipe(s)); await new Promise(ok => server.listen('sock', ok));
  console.log(await new Promise(ok => { let n = 0; const c = net.connect('sock', () => c.end(Buffer.alloc(3000000, 1))); c.on('data', d => n += d.length); c.on('end', () => { ok(n); server.close(); }); }));
  try { Buffer.alloc(2 ** 53); } catch (e) { console.log(e.code); }
  console.log(JSON.stringify(JSON.parse(JSON.stringify([...m].slice(0, 3)))), 2n ** 200n, 'done');
})();
