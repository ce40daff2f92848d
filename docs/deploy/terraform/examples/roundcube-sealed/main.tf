module "store" {
  source    = "../../nfs_volume"
  name      = "roundcube-backup"
  namespace = "roundcubemail"
  server    = "nas.example.org"
  share     = "/srv/backup/roundcube"
}

module "backup" {
  source      = "../.."
  name        = "roundcube"
  namespace   = "roundcubemail"
  schedule    = "10 3 * * *"
  store_claim = module.store.claim

  # kubectl -n roundcubemail create secret generic weekvault-writer --from-file=writer.key
  writer_secret_name = "weekvault-writer"

  sources = {
    html   = { claim = "roundcubemail-html", mount_path = "/src/html" }
    enigma = { claim = "roundcubemail-enigma", mount_path = "/src/enigma" }
  }

  affinity_labels = { app = "roundcubemail" }
}
