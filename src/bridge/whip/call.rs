//! The two requests of WHIP and WHEP: POST the offer, DELETE the session.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};
use zeroize::Zeroizing;

use super::super::config::{self, BridgeConfig, BridgeKind};
use super::super::retry::Pace;
use super::machine::Answer;
use super::verdict::{self, Fault, MAX_ANSWER, MAX_HOPS, Resource};
use crate::ops::access::Secret;
use crate::ops::{credential, web};

const SDP: HeaderValue = HeaderValue::from_static("application/sdp");
/// A server that does not take a connection in this time is down.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A POST must be answered in this time: some servers start a publisher first.
const POST_LIMIT: Duration = Duration::from_secs(15);
/// An OPTIONS must be answered in this time.
const KNOCK_LIMIT: Duration = Duration::from_secs(10);
/// A DELETE must be answered in this time.
const DELETE_LIMIT: Duration = Duration::from_secs(5);

/// An endpoint and how to ask it. Cheap to clone.
#[derive(Clone)]
pub(in crate::bridge) struct Endpoint(Arc<Inner>);

struct Inner {
    kind: BridgeKind,
    url: String,
    token: Token,
    ca: Option<PathBuf>,
}

enum Token {
    None,
    File(PathBuf),
    Given(Secret),
}

impl Endpoint {
    pub(in crate::bridge) fn new(config: &BridgeConfig, given: Option<Secret>) -> Self {
        let token = match (given, &config.token_file) {
            (Some(secret), _) => Token::Given(secret),
            (None, Some(file)) => Token::File(file.clone()),
            (None, None) => Token::None,
        };
        Self(Arc::new(Inner { kind: config.kind, url: config.url.clone(), token, ca: config.ca.clone() }))
    }

    /// Sends the offer. Follows redirects as [`verdict::next_hop`] allows.
    pub(super) async fn post(&self, offer: String) -> Result<Answer, Fault> {
        let call = self.try_post(offer);
        tokio::time::timeout(POST_LIMIT, call).await.unwrap_or_else(|_| Err(too_slow()))
    }

    async fn try_post(&self, offer: String) -> Result<Answer, Fault> {
        let configured = self.configured()?;
        let (client, bearer) = (self.client().await?, self.bearer().await?);
        let mut url = configured.clone();
        for _ in 0..=MAX_HOPS {
            let mut request = client.post(url.clone()).header(CONTENT_TYPE, SDP).header(ACCEPT, SDP).body(offer.clone());
            if let Some(bearer) = bearer.as_ref().filter(|_| verdict::gets_token(&configured, &url)) {
                request = request.header(AUTHORIZATION, bearer.clone());
            }
            let response = request.send().await.map_err(|error| no_answer(&error))?;
            let status = response.status().as_u16();
            match status {
                200 | 201 => return self.answered(&url, &offer, response).await,
                300..=399 => url = verdict::next_hop(&url, status, header(response.headers(), LOCATION))?,
                _ => {
                    let wait =
                        header(response.headers(), RETRY_AFTER).and_then(|text| verdict::retry_after(text, SystemTime::now()));
                    return Err(verdict::of_status(self.0.kind, status, wait));
                }
            }
        }
        Err(Fault::new("redirect", format!("the endpoint redirects more than {MAX_HOPS} times"), Pace::Slow))
    }

    async fn answered(&self, url: &Url, offer: &str, mut response: Response) -> Result<Answer, Fault> {
        let resource = verdict::resource(url, header(response.headers(), LOCATION));
        if resource.is_none() {
            tracing::debug!(host = url.host_str(), "the endpoint does not say where its session is ended");
        }
        let mut body = Vec::new();
        let mut read = async || {
            while let Some(part) = response.chunk().await.map_err(|error| no_answer(&error))? {
                if body.len() + part.len() > MAX_ANSWER {
                    let message = format!("the endpoint's answer has more than {MAX_ANSWER} bytes");
                    return Err(Fault::new("bad_answer", message, Pace::Slow));
                }
                body.extend_from_slice(&part);
            }
            let sdp = String::from_utf8(std::mem::take(&mut body));
            let sdp = sdp.map_err(|_| Fault::new("bad_answer", "the endpoint's answer is no text", Pace::Slow))?;
            verdict::check_answer(self.0.kind, offer, &sdp)?;
            Ok(sdp)
        };
        match read().await {
            Ok(sdp) => Ok(Answer { sdp, resource }),
            Err(fault) => {
                // it opened a session that is of no use
                if let Some(resource) = resource {
                    let _ = self.delete(&resource).await;
                }
                Err(fault)
            }
        }
    }

    /// Whether anything answers there. What, does not matter.
    pub(super) async fn knock(&self) -> Result<(), Fault> {
        let call = async {
            let (client, url) = (self.client().await?, self.configured()?);
            client.request(Method::OPTIONS, url).send().await.map(drop).map_err(|error| no_answer(&error))
        };
        tokio::time::timeout(KNOCK_LIMIT, call).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Ends a session.
    pub(super) async fn delete(&self, resource: &Resource) -> Result<(), Fault> {
        let call = async {
            let (client, bearer) = (self.client().await?, self.bearer().await?);
            let mut request = client.delete(resource.0.clone());
            if let Some(bearer) = bearer.filter(|_| self.configured().is_ok_and(|url| verdict::gets_token(&url, &resource.0))) {
                request = request.header(AUTHORIZATION, bearer);
            }
            let status = request.send().await.map_err(|error| no_answer(&error))?.status();
            if status.is_success() { Ok(()) } else { Err(verdict::of_status(self.0.kind, status.as_u16(), None)) }
        };
        tokio::time::timeout(DELETE_LIMIT, call).await.unwrap_or_else(|_| Err(too_slow()))
    }

    pub(in crate::bridge) fn configured(&self) -> Result<Url, Fault> {
        config::endpoint(&self.0.url).map_err(|error| Fault::new("bad_url", format!("the address {error}"), Pace::Slow))
    }

    /// Made for each call, which are few: certificates that were replaced are found.
    pub(in crate::bridge) async fn client(&self) -> Result<Client, Fault> {
        let broken = |message: String| Fault::new("tls", message, Pace::Slow);
        let authorities = match &self.0.ca {
            Some(ca) => {
                let pem = tokio::fs::read(ca).await.map_err(|error| broken(format!("`ca` cannot be read: {error}")))?;
                Some(Certificate::from_pem_bundle(&pem).map_err(|_| broken("no certificate in `ca`".into()))?)
            }
            None => None,
        };
        let client = web::client(|it| {
            let it = it.redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_LIMIT);
            let it = it.user_agent(concat!("portico/", env!("CARGO_PKG_VERSION")));
            match &authorities {
                Some(authorities) => it.tls_certs_only(authorities.iter().cloned()),
                None => it,
            }
        });
        client.map_err(|_| broken("no HTTP client can be made".into()))
    }

    /// Read at each attempt, so that a token that was renewed is used.
    pub(in crate::bridge) async fn token(&self) -> Result<Option<Zeroizing<String>>, Fault> {
        let broken = |message: String| Fault::new("no_token", message, Pace::Slow);
        let token = match &self.0.token {
            Token::None => return Ok(None),
            Token::Given(secret) => Zeroizing::new(secret.expose().to_owned()),
            Token::File(file) => {
                let path = credential::locate(file).map_err(|error| broken(error.to_string()))?;
                let text = tokio::fs::read_to_string(&path).await;
                Zeroizing::new(text.map_err(|error| broken(format!("{} cannot be read: {error}", path.display())))?)
            }
        };
        Ok(Some(Zeroizing::new(token.trim().to_owned())))
    }

    async fn bearer(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(token) = self.token().await? else { return Ok(None) };
        let line = Zeroizing::new(format!("Bearer {}", *token));
        let unfit = |_| Fault::new("no_token", "the token cannot stand in a header", Pace::Slow);
        let mut value = HeaderValue::from_str(&line).map_err(unfit)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

pub(in crate::bridge) fn too_slow() -> Fault {
    Fault::new("timeout", "the endpoint does not answer in time", Pace::Usual)
}

/// Without the address, which may hold what only the configuration should.
pub(in crate::bridge) fn no_answer(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return too_slow();
    }
    let mut cause: &dyn std::error::Error = error;
    let mut tls = false;
    while let Some(inner) = cause.source() {
        cause = inner;
        tls |= is_tls(cause);
    }
    match tls {
        true => Fault::new("tls", format!("the endpoint's certificate is not trusted: {cause}"), Pace::Slow),
        false => Fault::new("unreachable", format!("the endpoint does not answer: {cause}"), Pace::Usual),
    }
}

/// What an IO error holds is not its source, and may be another IO error.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let held = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || held.is_some_and(|held| is_tls(held))
}
