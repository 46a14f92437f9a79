/** The servers in the `Link` headers of a WHIP or WHEP address (RFC 9725 §4.6), as `RTCPeerConnection` wants them. */
export async function iceServers(url) {
  const response = await fetch(url, { method: 'OPTIONS' });
  return (response.headers.get('link') ?? '').split(/,(?=\s*<)/).map(value => {
    const part = name => new RegExp(`${name}="([^"]*)"`).exec(value)?.[1];
    return { urls: /<([^>]*)>/.exec(value)?.[1], username: part('username'), credential: part('credential') };
  }).filter(server => server.urls);
}
