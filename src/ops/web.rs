//! HTTP clients, also on systems that trust nobody.

use reqwest::{Certificate, Client, ClientBuilder, Error};

/// A client. Where the system has no certificate authorities (Debian without `ca-certificates`, small images) it still asks plain HTTP
/// and whoever `configure` trusts; `https` of others is then refused when it is asked. Fails when the TLS provider is not installed.
pub fn client(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, Error> {
    configure(Client::builder()).build().or_else(|error| {
        tracing::debug!(%error, "no certificate authorities");
        configure(Client::builder().tls_certs_only([] as [Certificate; 0])).build()
    })
}
