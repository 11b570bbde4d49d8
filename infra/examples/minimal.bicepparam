// The least that has to be said.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'FLOW_LOG_ACCOUNT'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
]
