//! Certificates for loopback, made at each start: an authority that clients are told to trust, and a
//! server's certificate from it. (One that is both is refused by rustls.)

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What serves TLS on loopback, and the authority's certificate as PEM.
pub(crate) fn loopback() -> std::io::Result<(TlsAcceptor, String)> {
    let mut authority = CertificateParams::new(Vec::new()).map_err(std::io::Error::other)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name = named("authority of a Switchyard stand-in");
    let authority_key = KeyPair::generate().map_err(std::io::Error::other)?;
    let pem = authority.self_signed(&authority_key).map_err(std::io::Error::other)?.pem();

    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut server = CertificateParams::new(names).map_err(std::io::Error::other)?;
    // OpenSSL takes a certificate for self-signed whose subject is its issuer's.
    server.distinguished_name = named("stand-in on loopback");
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(std::io::Error::other)?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = server.signed_by(&key, &issuer).map_err(std::io::Error::other)?;

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.into()], key))
        .map_err(std::io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), pem))
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
