// One clip from files and options, its verdict's action on stdout. What it does is docs/wire.md.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const MIB = 1024 * 1024;
const OPTIONS = {
  'grpc.max_send_message_length': -1,
  'grpc.max_receive_message_length': 32 * MIB,
  'grpc.per_rpc_retry_buffer_size': 64 * MIB, // else nothing with images in it is retried
  'grpc.keepalive_time_ms': 330_000, // a default server drops who pings more often than 300 s
};

// BYTES of KServe v2: every element after its length, 4 bytes, little-endian.
function encodeBytes(items) {
  return Buffer.concat(
    items.flatMap((item) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(item.length);
      return [length, item];
    }),
  );
}

// frames: Buffers of JPEG, PNG or WebP files; texts: {kind, text}.
function buildRequest(frames, texts, context) {
  const request = { model_name: 'moderation', inputs: [], raw_input_contents: [] };
  request.outputs = [{ name: 'verdict' }];
  const add = (name, items) => {
    if (items.length === 0) return; // an empty input is left out
    request.inputs.push({ name, datatype: 'BYTES', shape: [1, items.length] });
    request.raw_input_contents.push(encodeBytes(items));
  };
  add('frames', frames);
  add('texts', texts.map(({ text }) => Buffer.from(text)));
  const full = { ...context, texts: texts.map(({ kind }) => ({ kind })) };
  add('context', [Buffer.from(JSON.stringify(full))]);
  return request;
}

function readVerdict(response) {
  const index = response.outputs.findIndex((output) => output.name === 'verdict');
  const verdict = JSON.parse(response.raw_output_contents[index].subarray(4).toString('utf8'));
  if (verdict.schema !== 'livewarden.verdict/v1') throw new Error('an answer of another schema');
  return verdict;
}

// Resolves to a verdict, or rejects: an error is never an `allow`. After `seconds` it stops
// waiting, but leaves the call alone: many cancelled calls can crash a Triton.
function moderate(stub, frames, texts, { seconds = 5, ...fields } = {}) {
  const nonce = crypto.randomBytes(8).toString('hex');
  const deadline_ms = Date.now() + Math.round(seconds * 1000);
  const request = buildRequest(frames, texts, { ...fields, nonce, deadline_ms });
  const deadline = Date.now() + Math.max(30, 10 * seconds) * 1000;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no verdict in ${seconds} s`)), seconds * 1000);
    stub.ModelInfer(request, new grpc.Metadata(), { deadline }, (error, response) => {
      clearTimeout(timer);
      if (error) return reject(error);
      try {
        const verdict = readVerdict(response);
        // A stalled server can hand one caller's answer to the next.
        if (verdict.nonce !== nonce) throw new Error('the answer to another question');
        resolve(verdict);
      } catch (problem) {
        reject(problem);
      }
    });
  });
}

function connect(url) {
  const definition = protoLoader.loadSync(path.join(__dirname, 'kserve.proto'), { keepCase: true });
  const { GRPCInferenceService } = grpc.loadPackageDefinition(definition).inference;
  return new GRPCInferenceService(url, grpc.credentials.createInsecure(), OPTIONS);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: 'string', default: '127.0.0.1:8001' },
      text: { type: 'string', multiple: true, default: [] }, // KIND:WORDS
      timeout: { type: 'string', default: '5' },
    },
  });
  const stub = connect(values.url);
  const texts = values.text.map((given) => {
    const [kind, ...words] = given.split(':');
    return { kind, text: words.join(':') };
  });
  const frames = positionals.map((file) => fs.readFileSync(file));
  try {
    const verdict = await moderate(stub, frames, texts, { seconds: Number(values.timeout) });
    console.log(verdict.action);
    for (const reason of verdict.reasons) console.log(`${reason.code}: ${reason.message}`);
  } catch (error) {
    console.error(`hold the clip back: ${error.message}`);
    process.exitCode = 1;
  }
  stub.close(); // what is on the wire still ends by itself
}

module.exports = { connect, moderate };

if (require.main === module) main();
