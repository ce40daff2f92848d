resource "kubernetes_persistent_volume_v1" "this" {
  metadata {
    name   = var.name
    labels = { app = var.name }
  }

  spec {
    capacity     = { storage = var.storage }
    access_modes = ["ReadWriteMany"]
    # The claim may go, the backups stay.
    persistent_volume_reclaim_policy = "Retain"
    storage_class_name               = var.storage_class
    mount_options                    = var.mount_options

    persistent_volume_source {
      csi {
        driver = "nfs.csi.k8s.io"
        # Of one's own for each share.
        volume_handle = "${var.server}${var.share}"
        volume_attributes = {
          server = var.server
          share  = var.share
        }
      }
    }
  }
}

resource "kubernetes_persistent_volume_claim_v1" "this" {
  metadata {
    name      = var.name
    namespace = var.namespace
    labels    = { app = var.name }
  }

  spec {
    access_modes       = ["ReadWriteMany"]
    storage_class_name = var.storage_class
    volume_name        = kubernetes_persistent_volume_v1.this.metadata[0].name

    resources {
      requests = { storage = var.storage }
    }
  }
}
