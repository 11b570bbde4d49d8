// az deployment group create --resource-group RESOURCE_GROUP --parameters infra/main.bicepparam
using 'main.bicep'

param flowLogAccountName = 'FLOW_LOG_ACCOUNT'
param flowLogResourceGroup = 'FLOW_LOG_RESOURCE_GROUP'
