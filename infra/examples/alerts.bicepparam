// Alerts by e-mail, on the smallest instances; people and groups that may read, and whoever deploys may backfill.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'FLOW_LOG_ACCOUNT'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
]
param instanceMemoryMB = 512
param maximumInstanceCount = 10
param readerObjectIds = [
  '00000000-0000-0000-0000-000000000001'
  '00000000-0000-0000-0000-000000000002'
]
param deployerBackfills = true
param alerts = true
param alertEmails = [
  'network-team@example.com'
]
