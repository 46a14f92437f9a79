// Media that tell whose they are: a member's camera shows one colour, its microphone gives one tone, and what a page plays is looked at and
// listened to. So "X sees Y" is read off the picture itself, whatever way it came.

/** Colours and tones, by member. A colour is red, green, blue of 0 to 255; a tone is in Hz, far from the others and their harmonics. */
export const MARKS = {
  tribe: { colour: [230, 0, 0], tone: 610 },
  page: { colour: [0, 200, 0], tone: 830 },
  peerjs: { colour: [0, 0, 230], tone: 1130 },
  vamp: { colour: [220, 0, 220], tone: 1470 },
  whip: { colour: [230, 220, 0], tone: 1930 },
  source: { colour: [255, 255, 255], tone: 440 },
};

/** An `open` whose pages have the camera and microphone of `name`, and a `marks` that knows all. Those without a mark of their own have none. */
export const marked = (open, name) => async (url, options) => {
  const page = await open(url, options);
  await page.evaluate(`(${inPage})(${JSON.stringify(MARKS)}, ${JSON.stringify(name)})`);
  return page;
};

/** Whose pictures and sounds a page has played so far: `{ pictures, sounds }`, without its own. */
export const seen = page => page.evaluate(() => window.marks.seen());

/** Runs in the page. */
function inPage(marks, own) {
  const paint = colour => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 160, height: 120 });
    const context = canvas.getContext('2d');
    let count = 0;
    setInterval(() => {
      context.fillStyle = `rgb(${colour})`;
      context.fillRect(0, 0, 160, 120);
      // something must change, or nothing is captured
      context.fillStyle = count++ % 2 ? '#777' : '#888';
      context.fillRect(150, 110, 10, 10);
    }, 100);
    return canvas.captureStream(10).getVideoTracks()[0];
  };
  const sing = tone => {
    const context = new AudioContext();
    const out = context.createMediaStreamDestination();
    const volume = new GainNode(context, { gain: 0.3 });
    const voice = new OscillatorNode(context, { frequency: tone });
    voice.connect(volume).connect(out);
    voice.start();
    return out.stream.getAudioTracks()[0];
  };
  if (marks[own]) {
    navigator.mediaDevices.getUserMedia = async ({ audio, video }) =>
      new MediaStream([...video ? [paint(marks[own].colour)] : [], ...audio ? [sing(marks[own].tone)] : []]);
  }

  const found = { pictures: new Set(), sounds: new Set() };
  const listening = new Map();
  let context;
  /** Whose colour it is, if it is one. */
  function ownerOfColour(pixel) {
    const far = colour => Math.hypot(...colour.map((value, i) => value - pixel[i]));
    const [near] = Object.entries(marks).map(([name, { colour }]) => [name, far(colour)]).sort((a, b) => a[1] - b[1]);
    return near[1] < 90 ? near[0] : undefined;
  }
  function look(element) {
    if (!element.videoWidth) return;
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
    const pen = canvas.getContext('2d');
    // a corner: the middle of the test picture has writing
    pen.drawImage(element, 0, 0, element.videoWidth / 5, element.videoHeight / 5, 0, 0, 1, 1);
    const owner = ownerOfColour([...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
    if (owner) found.pictures.add(owner);
  }
  function hear(track) {
    context ??= new AudioContext();
    let ear = listening.get(track.id);
    if (!ear) {
      ear = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
      context.createMediaStreamSource(new MediaStream([track])).connect(ear);
      listening.set(track.id, ear);
    }
    const levels = new Float32Array(ear.frequencyBinCount);
    ear.getFloatFrequencyData(levels);
    const loudest = levels.reduce((best, level, bin) => level > levels[best] ? bin : best, 0);
    if (!(levels[loudest] > -60)) return;
    const tone = loudest * context.sampleRate / ear.fftSize;
    const owner = Object.entries(marks).find(([, mark]) => Math.abs(mark.tone - tone) < 40);
    if (owner) found.sounds.add(owner[0]);
  }
  setInterval(() => {
    for (const element of document.querySelectorAll('video, audio')) {
      if (!element.srcObject) continue;
      if (element instanceof HTMLVideoElement) look(element);
      for (const track of element.srcObject.getAudioTracks()) if (track.readyState === 'live') hear(track);
    }
  }, 500);
  const others = set => [...set].filter(name => name !== own).sort();
  window.marks = { seen: () => ({ pictures: others(found.pictures), sounds: others(found.sounds) }) };
}
