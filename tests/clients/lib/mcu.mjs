// A member of a mixed room in a page, by the page's own signalling.

/** Runs in a page. Defines `window.member` in the page: one member of the room, by the page's own signalling. */
export function inPage() {
  const peers = new Map();
  const waiting = new Map();
  const streams = new Map();
  let socket, samples, analyser, element;
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const picture = canvas.getContext('2d', { alpha: false });
  const look = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  let drawing, marked, record, count = 0;

  const draw = colour => {
    picture.fillStyle = colour;
    picture.fillRect(0, 0, canvas.width, canvas.height);
    // something moves, so that every frame is a new one
    picture.fillStyle = count % 2 ? '#777' : '#888';
    picture.fillRect(0, canvas.height - 8, 8, 8);
    if (marked) {
      // a step that is seen, each time
      const level = count % 8 * 32;
      picture.fillStyle = `rgb(${level} ${level} ${level})`;
      picture.fillRect(16, 16, 48, 48);
    }
    count++;
  };
  const gathered = pc => new Promise(done => {
    if (pc.iceGatheringState === 'complete') return done();
    pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
    setTimeout(done, 2000);
  });
  const answerTo = key => new Promise((done, fail) => waiting.set(key, { done, fail }));
  function hear(message) {
    const { type, peer } = message;
    for (const { id, name, streams: shown } of [message.member?.id ? message.member : [], ...(message.members ?? [])].flat()) {
      streams.set(id, { name, streams: shown.map(stream => stream.name) });
    }
    if (type === 'stream-up') streams.get(message.member).streams.push(message.stream.name);
    if (type === 'left') streams.delete(message.member);
    if (type === 'refused') waiting.get(message.re)?.fail(new Error(`${message.re}: ${message.message}`));
    waiting.get(peer ? `${type} ${peer}` : type)?.done(message);
  }
  async function offer(peer, pc, request) {
    peers.set(peer, pc);
    await pc.setLocalDescription();
    await gathered(pc);
    const [answer, up] = [answerTo(`answer ${peer}`), answerTo(`peer-up ${peer}`)];
    socket.send(JSON.stringify({ ...request, peer, sdp: pc.localDescription.sdp }));
    await pc.setRemoteDescription({ type: 'answer', sdp: (await answer).sdp });
    await up;
  }
  window.member = {
    async join(room, name) {
      socket = new WebSocket(`${location.origin.replace('http', 'ws')}/page`);
      socket.addEventListener('message', ({ data }) => hear(JSON.parse(data)));
      await new Promise(done => socket.addEventListener('open', done));
      const welcome = answerTo('welcome');
      socket.send(JSON.stringify({ type: 'join', room, name }));
      await welcome;
    },
    /** With a `rate` of its own, a square in the upper left corner has another grey in each picture. */
    async publish(colour, tone, rate = 10) {
      marked = rate !== 10;
      draw(colour);
      drawing = setInterval(draw, 1000 / rate, colour);
      const context = new AudioContext();
      const out = context.createMediaStreamDestination();
      const voice = new OscillatorNode(context, { frequency: tone });
      voice.connect(new GainNode(context, { gain: 0.15 })).connect(out);
      voice.start();
      const pc = new RTCPeerConnection();
      for (const track of [...canvas.captureStream(rate).getTracks(), ...out.stream.getTracks()]) pc.addTransceiver(track, { direction: 'sendonly' });
      await offer('own', pc, { type: 'publish', stream: 'main' });
    },
    /** Plays the one stream that is shown of the others. */
    async watch() {
      const shown = [...streams].flatMap(([id, { streams }]) => streams.map(stream => ({ member: id, stream })));
      if (shown.length !== 1) throw new Error(`these are shown: ${JSON.stringify([...streams])}`);
      const pc = new RTCPeerConnection();
      for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' });
      element = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, srcObject: new MediaStream() });
      const context = new AudioContext();
      analyser = new AnalyserNode(context, { fftSize: 16384 });
      samples = new Float32Array(analyser.fftSize);
      pc.ontrack = ({ track }) => {
        element.srcObject.addTrack(track);
        // the element pulls the sound, the analyser listens to it
        if (track.kind === 'audio') context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
      };
      document.body.append(element);
      await offer('mix', pc, { type: 'play', ...shown[0] });
      return [...streams.values()];
    },
    colour(x, y) {
      if (!element.videoWidth) return null;
      look.drawImage(element, x * element.videoWidth, y * element.videoHeight, 1, 1, 0, 0, 1, 1);
      return [...look.getImageData(0, 0, 1, 1).data].slice(0, 3);
    },
    /** Notes of each picture that is shown when it was taken, in RTP time, and the colours at these places; of the page's other picture, the times. */
    record(places) {
      const notes = record = { mix: [], other: [] };
      const follow = (video, note) => video.requestVideoFrameCallback(function again(_, { rtpTimestamp }) {
        if (record !== notes) return;
        note(rtpTimestamp);
        video.requestVideoFrameCallback(again);
      });
      follow(element, time => notes.mix.push([time, ...places.map(([x, y]) => this.colour(x, y))]));
      for (const other of document.querySelectorAll('video')) if (other !== element) follow(other, time => notes.other.push([time]));
    },
    /** What was noted; ends it. */
    recorded() {
      const notes = record;
      record = undefined;
      return notes;
    },
    /** How much there is of a tone, 1 being full scale. */
    tone(frequency) {
      analyser.getFloatTimeDomainData(samples);
      const step = 2 * Math.PI * frequency / analyser.context.sampleRate;
      let [real, imaginary] = [0, 0];
      samples.forEach((sample, n) => {
        real += sample * Math.cos(step * n);
        imaginary += sample * Math.sin(step * n);
      });
      return 2 * Math.hypot(real, imaginary) / samples.length;
    },
    /** Holds the picture still, as a camera that fails does. */
    freeze: () => clearInterval(drawing),
    thaw: colour => { drawing = setInterval(draw, 100, colour); },
    /** The phone is turned: what was wide is high. */
    turn: () => Object.assign(canvas, { width: 180, height: 320 }),
    async figures() {
      const pc = peers.get('mix');
      const video = [...(await pc.getStats()).values()].find(s => s.type === 'inbound-rtp' && s.kind === 'video');
      return { state: pc.connectionState, frames: video?.framesDecoded ?? 0 };
    },
    leave() {
      socket.send(JSON.stringify({ type: 'leave' }));
      for (const pc of peers.values()) pc.close();
      clearInterval(drawing);
    },
  };
}
