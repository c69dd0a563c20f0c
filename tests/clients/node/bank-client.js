// A bank's program. It knows Recado by its topics and its schemas alone: writes Pix events, and reads what became of them.
//
//   node bank-client.js write BOOTSTRAP TOPIC pix_transaction.avsc NAME           one line of JSON for each event
//   node bank-client.js read  BOOTSTRAP TOPIC status.avsc          NAME COUNT     one line for each status, until COUNT of them are terminal
//
// kafkajs speaks Kafka's protocol in JavaScript, avsc reads and writes Avro: no librdkafka, nothing shared with Recado. Both are found by NODE_PATH.
'use strict';
const { readFileSync } = require('node:fs');
const avro = require('avsc');
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs');
const LZ4 = require('kafkajs-lz4');

CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec;
const PATIENCE_MS = 60_000;

// Avro's own 64-bit fingerprint of a schema's canonical form, which avsc does not have. Source: the Avro specification, "Schema Fingerprints".
function fingerprint(type) {
  const empty = 0xc15d213aa4d7a795n;
  let print = empty;
  for (const byte of Buffer.from(JSON.stringify(type.schema()))) {
    let row = (print ^ BigInt(byte)) & 0xffn;
    for (let bit = 0; bit < 8; bit += 1) row = row & 1n ? (row >> 1n) ^ empty : row >> 1n;
    print = (print >> 8n) ^ row;
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(print);
  return bytes;
}

const singleObjectHeader = (type) => Buffer.concat([Buffer.from([0xc3, 0x01]), fingerprint(type)]);

// A Pix that an invented customer received: R$ 1.234,56 as an unscaled number of two decimals.
const pix = (eventId) => ({
  event_id: eventId,
  customer_id: `customer-of-${eventId}`,
  phone: '+5511987654321',
  time_zone: null,
  direction: 'RECEIVED',
  amount: Buffer.from([0x01, 0xe2, 0x40]),
  counterparty: { name: 'Joana Ferreira Lima', document: null, institution: 'Banco Modelo', pix_key: null },
  end_to_end_id: null,
  note: null,
  occurred_at: 1_764_900_000_000,
});

// Two events that are committed, in the two framings of Avro, and before them one whose transaction is aborted.
async function write(kafka, topic, type, name) {
  const producer = kafka.producer({ transactionalId: name, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  // Without a registry the schema's id (4 bytes behind the 0 of the Confluent wire format) means nothing.
  const framings = { confluent: Buffer.from([0, 0, 0, 0, 1]), 'single-object': singleObjectHeader(type) };
  const record = (eventId, header) => ({ key: `customer-of-${eventId}`, value: Buffer.concat([header, type.toBuffer(pix(eventId))]) });

  const aborted = await producer.transaction();
  await aborted.send({ topic, messages: [record(`${name}-aborted`, framings.confluent)] });
  await aborted.abort();

  const transaction = await producer.transaction();
  const written = [];
  for (const [framing, header] of Object.entries(framings)) {
    const eventId = `${name}-${framing}`;
    const [at] = await transaction.send({ topic, messages: [record(eventId, header)] });
    written.push({ event_id: eventId, partition: at.partition, offset: Number(at.baseOffset) });
  }
  await transaction.commit();
  await producer.disconnect();
  for (const line of written) console.log(JSON.stringify(line));
}

async function read(kafka, topic, type, name, count) {
  const header = singleObjectHeader(type);
  const consumer = kafka.consumer({ groupId: name, readUncommitted: false });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  let terminal = 0;
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${terminal} of ${count} terminal statuses within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    const eachMessage = async ({ partition, message }) => {
      if (!message.value.subarray(0, 10).equals(header)) {
        return reject(new Error(`the record at ${partition}/${message.offset} is no status in the single-object encoding`));
      }
      const status = type.fromBuffer(message.value.subarray(10));
      console.log(JSON.stringify({ partition, offset: Number(message.offset), key: message.key.toString(), status }));
      terminal += status.terminal ? 1 : 0;
      if (terminal >= count) {
        clearTimeout(late);
        resolve();
      }
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
}

async function main([what, bootstrap, topic, schema, name, count]) {
  const type = avro.Type.forSchema(JSON.parse(readFileSync(schema, 'utf8')));
  const kafka = new Kafka({ clientId: name, brokers: bootstrap.split(','), logLevel: logLevel.NOTHING });
  if (what === 'write') await write(kafka, topic, type, name);
  else if (what === 'read') await read(kafka, topic, type, name, Number(count));
  else throw new Error(`write or read, not ${what}`);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
