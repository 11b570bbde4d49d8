// Flow logs in an account of another subscription of the same tenant.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'FLOW_LOG_ACCOUNT'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
    subscriptionId: '00000000-0000-0000-0000-000000000000'
  }
]
