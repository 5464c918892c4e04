process.on('message', m => process.send({ got: m.a.map(x => x * 2) }));
