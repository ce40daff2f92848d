module "store" {
  source    = "../../nfs_volume"
  name      = "mailserver-backup"
  namespace = "mailserver"
  server    = "nas.example.org"
  share     = "/srv/backup/mailserver"
  storage   = "100Gi"
}

module "backup" {
  source          = "../.."
  name            = "mailserver"
  namespace       = "mailserver"
  schedule        = "40 3 * * *"
  verify_schedule = "40 6 * * 0"
  store_claim     = module.store.claim

  # Three folders of one volume.
  sources = {
    data  = { claim = "mailserver", mount_path = "/src/data", sub_path = "data" }
    state = { claim = "mailserver", mount_path = "/src/state", sub_path = "state" }
    log   = { claim = "mailserver", mount_path = "/src/log", sub_path = "log" }
  }

  affinity_labels = { app = "mailserver" }
}
