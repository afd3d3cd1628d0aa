// Writes xeddsa.json: signatures of signed pre-keys, made by implementations other than the server's.
//
//   npm install @signalapp/libsignal-client@0.103.0 curve25519-js@0.0.4 @noble/curves@2.4.0 @noble/hashes@2.4.0
//   node make_xeddsa.mjs > xeddsa.json
//
// Keys come from fixed seeds. libsignal signs with fresh randomness, so its signatures differ from run to run.

import crypto from "node:crypto";
import { PrivateKey, PublicKey } from "@signalapp/libsignal-client";
import axlsign from "curve25519-js";
import { ed25519 } from "@noble/curves/ed25519.js";

const { Point } = ed25519;
const L = Point.Fn.ORDER;
const SIGN_BIT = 0x80;

const sha512 = (...parts) => crypto.createHash("sha512").update(Buffer.concat(parts)).digest();
const toNumber = (bytes) => BigInt("0x" + Buffer.from(bytes).reverse().toString("hex"));
const toBytes = (number) => Buffer.from(number.toString(16).padStart(64, "0"), "hex").reverse();
const modL = (number) => ((number % L) + L) % L;
const multiplied = (point, scalar) => (scalar === 0n ? Point.ZERO : point.multiply(scalar));

function makeKey(label) {
  const seed = crypto.createHash("sha256").update(label).digest();
  seed[0] &= 248;
  seed[31] = (seed[31] & 127) | 64;
  const library = PrivateKey.deserialize(seed);
  const edwards = Buffer.from(Point.BASE.multiply(modL(toNumber(seed))).toBytes());
  return { seed, library, wire: Buffer.from(library.getPublicKey().serialize()), sign: edwards[31] >> 7 };
}

/** Two identity keys of each Edwards sign, so that both sign bits occur with every library. */
function makeIdentities() {
  const found = { 0: [], 1: [] };
  for (let i = 0; found[0].length < 2 || found[1].length < 2; i++) {
    const key = makeKey(`identity ${i}`);
    if (found[key.sign].length < 2) found[key.sign].push(key);
  }
  return [...found[0], ...found[1]];
}

/** The XEdDSA paper, section 3: the private key is negated if needed, so the sign bit is always 0. */
function signByPaper(key, message, { nonce, torsion = Point.ZERO } = {}) {
  const a = key.sign ? modL(-toNumber(key.seed)) : modL(toNumber(key.seed));
  const A = Buffer.from(Point.BASE.multiply(a).toBytes());
  const prefix = Buffer.alloc(32, 0xff);
  prefix[0] = 0xfe;
  const r = nonce ?? modL(toNumber(sha512(prefix, toBytes(a), message, Buffer.alloc(64, 7))));
  const R = Buffer.from(multiplied(Point.BASE, r).add(torsion).toBytes());
  const h = modL(toNumber(sha512(R, A, message)));
  return Buffer.concat([R, toBytes(modL(r + h * a))]);
}

const signers = {
  libsignal: (key, message) => Buffer.from(key.library.sign(message)),
  "curve25519-js": (key, message) => Buffer.from(axlsign.sign(key.seed, message, Buffer.alloc(64, 9))),
  "paper, with noble-curves": signByPaper,
};

const withBitFlipped = (bytes, bit) => {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] ^= 1 << (bit & 7);
  return copy;
};

const withS = (signature, change) =>
  Buffer.concat([signature.subarray(0, 32), toBytes(change(toNumber(signature.subarray(32))))]);

function libsignalSays(identity, messageKey, signature) {
  const key = PublicKey.deserialize(identity);
  return key.verify(messageKey, signature) || key.verify(messageKey.subarray(1), signature);
}

function vector(name, identity, messageKey, signature, valid) {
  return {
    name,
    identity: identity.toString("base64"),
    messageKey: messageKey.toString("base64"),
    signature: signature.toString("base64"),
    valid,
    libsignal: libsignalSays(identity, messageKey, signature),
  };
}

function validVectors(identity, index, messageKey) {
  const vectors = [];
  for (const [library, sign] of Object.entries(signers)) {
    for (const message of [messageKey, messageKey.subarray(1)]) {
      const signature = sign(identity, message);
      const form = `${library}, key ${index}, ${message.length} bytes, sign bit ${signature[63] >> 7}`;
      vectors.push(vector(form, identity.wire, messageKey, signature, true));
    }
  }
  const flipped = withBitFlipped(signers["curve25519-js"](identity, messageKey), 511);
  vectors.push(vector(`curve25519-js, key ${index}, sign bit wrong`, identity.wire, messageKey, flipped, true));
  const topBitSet = Buffer.from(identity.wire);
  topBitSet[32] |= SIGN_BIT;
  const signature = signers["curve25519-js"](identity, messageKey);
  vectors.push(vector(`curve25519-js, key ${index}, unused top bit of the key set`, topBitSet, messageKey, signature, true));
  return vectors;
}

function forgeries(identity, index, messageKey, otherIdentity, otherMessageKey) {
  const good = signers["curve25519-js"](identity, messageKey);
  const paper = signByPaper(identity, messageKey);
  const bad = (name, signature, signer = identity, message = messageKey) =>
    vector(`${name}, key ${index}`, signer.wire, message, signature, false);
  const overOther = (message) => signers["curve25519-js"](identity, message);
  const torsion = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
  return [
    ...[0, 7, 100, 255, 256, 300, 400, 507, 508, 509, 510].map((bit) => bad(`bit ${bit} flipped`, withBitFlipped(good, bit))),
    bad("other identity", good, otherIdentity),
    bad("other message key", good, identity, otherMessageKey),
    bad("signature of the identity itself", overOther(identity.wire)),
    bad("signature of an empty message", overOther(Buffer.alloc(0))),
    bad("signature of the key with another type byte", overOther(Buffer.concat([Buffer.from([6]), messageKey.subarray(1)]))),
    bad("signature of the key with a byte more", overOther(Buffer.concat([messageKey, Buffer.from([0])]))),
    bad("halves swapped", Buffer.concat([good.subarray(32), good.subarray(0, 32)])),
    bad("all zero", Buffer.alloc(64)),
    bad("all ones", Buffer.alloc(64, 0xff)),
    bad("R neutral, s zero", Buffer.concat([toBytes(1n), Buffer.alloc(32)])),
    bad("R neutral, s fitting", signByPaper(identity, messageKey, { nonce: 0n })),
    bad("R with a torsion part", signByPaper(identity, messageKey, { torsion })),
    bad("s plus L", withS(paper, (s) => s + L)),
    bad("s negated", withS(paper, (s) => modL(-s))),
  ];
}

const identities = makeIdentities();
const messageKeys = identities.map((_, index) => makeKey(`signed pre-key ${index}`).wire);
const next = (list, index) => list[(index + 1) % list.length];

const vectors = identities.flatMap((identity, index) => [
  ...validVectors(identity, index, messageKeys[index]),
  ...forgeries(identity, index, messageKeys[index], next(identities, index), next(messageKeys, index)),
]);

console.log("[\n" + vectors.map((each) => "  " + JSON.stringify(each)).join(",\n") + "\n]");
